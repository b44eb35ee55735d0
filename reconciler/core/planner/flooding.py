"""Units of which systemd has so much to tell that nobody else would be heard: they are ended, and it is said why."""

from reconciler.core.planner import actions as act
from reconciler.core.state.ledger import Ledger
from reconciler.core.units import names
from reconciler.core.units.observed import Observed

TOO_MANY = 100
"""Changes of one unit within `SPAN`. A server that starts makes about ten, one that serves tells its counters once a
second, one that systemd starts anew each second makes less than fifty."""
SPAN = 5.0
"""Seconds."""
WHY = f"it changed its state or its status line more than {TOO_MANY} times within {SPAN:.0f} s"


def kills(seen: Observed, ledger: Ledger) -> list[act.Kill]:
    """Plan that all processes of a unit that floods are killed.

    systemd starts the unit again, and in a soak that counts as an end. Units of suspended deployments and those that
    are not ours are left alone.
    """
    found: list[act.Kill] = []
    for unit, state in sorted(seen.units.items()):
        # One that is down may still be said to flood for a while, but there is nothing left to kill.
        still_floods = state.floods and not state.is_down
        if not still_floods:
            continue
        # What deployments share belongs to none, so nobody can have suspended it.
        deployment = names.deployment_of(unit) or ""
        is_suspended = ledger.record(deployment).suspended is not None
        if unit not in seen.foreign and not is_suspended:
            found.append(act.Kill(deployment, unit, WHY))
    return found
