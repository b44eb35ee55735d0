"""All actions of a plan, as values, and the order in which signals are sent.

Callers import this module as `act` and need not know whether an action changes a unit or the ledger.
"""

from collections.abc import Iterable

from reconciler.core.planner.ledger_updates import (
    Agree,
    EndStall,
    ForgetDeployment,
    KeepFiles,
    MarkProven,
    Note,
    PinEnvironment,
    PinFiles,
    Reject,
    Replaced,
    StallDeployment,
    WithdrawConfirmation,
    WithdrawYes,
)
from reconciler.core.planner.unit_actions import (
    Action,
    Clean,
    Disable,
    Enable,
    Kill,
    Reload,
    Remove,
    RemoveDropIns,
    Render,
    ResetFailed,
    RestoreFile,
    Resume,
    ShowPin,
    Signal,
    StandBy,
    Start,
    Stop,
    Value,
)

__all__ = [
    "Action",
    "Agree",
    "Clean",
    "Disable",
    "Enable",
    "EndStall",
    "ForgetDeployment",
    "KeepFiles",
    "Kill",
    "MarkProven",
    "Note",
    "PinEnvironment",
    "PinFiles",
    "Reject",
    "Reload",
    "Remove",
    "RemoveDropIns",
    "Render",
    "Replaced",
    "ResetFailed",
    "RestoreFile",
    "Resume",
    "ShowPin",
    "Signal",
    "StallDeployment",
    "StandBy",
    "Start",
    "Stop",
    "Value",
    "WithdrawConfirmation",
    "WithdrawYes",
    "in_order",
]

CHANGES_FILES = (Render, RestoreFile, Remove, RemoveDropIns, Disable)
"""What systemd notices only after a reload.

It knows by itself what a boot starts no more; but systemd 257 calls every unit outdated until a reload.
"""
SAFETY = (Signal, Reject)
"""What needs neither a disk nor luck: it is done also where another action failed, and before all others."""

# A server that is to accept requests does so before another stops.
_ORDER = (Kill, Resume, StandBy)


def in_order(signals: Iterable[Signal]) -> list[Signal]:
    """Return the signals of a plan in the order in which they are sent, each once.

    Kills come first; signals of one kind stay in the order of the plan. A unit that is killed is sent nothing else:
    what it was to do, it must not do any more.
    """
    # The same signal may follow from several reasons.
    once = list(dict.fromkeys(signals))
    killed = {signal.unit for signal in once if isinstance(signal, Kill)}
    left = []
    for signal in once:
        is_for_a_killed_unit = signal.unit in killed
        # One unit may be killed for two reasons, and both are told.
        is_superseded = is_for_a_killed_unit and not isinstance(signal, Kill)
        if not is_superseded:
            left.append(signal)
    return sorted(left, key=lambda signal: _ORDER.index(type(signal)))
