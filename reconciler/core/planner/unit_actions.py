"""The actions that change units: their files, and what systemd does with them.

`str()` of an action is the line that people read in `reconciler plan` and in the journal; programs read its `verb`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.core.units.unit_facts import UnitFacts

Value = str | int | bool | list[str]


@dataclass(frozen=True)
class Action:
    """Something to do to one unit for one deployment (empty for what deployments share)."""

    deployment: str
    unit: str

    # Belongs to the kind of action, so it is no field.
    verb = "do"

    def __str__(self) -> str:
        """Give the line that people read.

        Kinds of action that have more to say than a verb and a unit have their own.
        """
        return f"{self.verb} {self.unit}"


# What changes files: systemd does not notice it before the pass's one reload.


@dataclass(frozen=True)
class Render(Action):
    """Render a unit from a template, verify it, keep the copy and install it."""

    template: str
    values: Mapping[str, Value]
    facts: UnitFacts

    verb = "write"


@dataclass(frozen=True)
class RestoreFile(Action):
    """Put the rendered copy back where somebody changed or removed it."""

    verb = "restore"


@dataclass(frozen=True)
class RemoveDropIns(Action):
    """Remove what somebody put beside a unit of a release to change it."""

    verb = "remove the drop-ins of"


@dataclass(frozen=True)
class Remove(Action):
    """Remove a unit's file and its rendered copy."""

    verb = "remove"


@dataclass(frozen=True)
class Reload(Action):
    """Make systemd read its unit files again; once a pass."""

    def __str__(self) -> str:
        return "reload systemd's unit files"


# What systemd is asked to do.


@dataclass(frozen=True)
class Start(Action):
    """Ask for a start; a service's progress is observed in later passes, a socket is waited for."""

    verb = "start"


@dataclass(frozen=True)
class Stop(Action):
    """Ask for a stop; observed in later passes."""

    verb = "stop"


# Signals go first, in the order of `actions.in_order`, also while the deployment waits for its next turn.


@dataclass(frozen=True)
class Signal(Action):
    """A signal that systemd sends at once: it needs no file, and nothing else comes before it."""


@dataclass(frozen=True)
class Kill(Signal):
    """Kill all processes of a unit at once; what follows is systemd's own rule for one that ends by a signal."""

    why: str

    verb = "kill"

    def __str__(self) -> str:
        return f"kill {self.unit}: {self.why}"


@dataclass(frozen=True)
class StandBy(Signal):
    """Make a server close its listeners and stay loaded; one that does not is stopped."""

    verb = "put into standby"


@dataclass(frozen=True)
class Resume(Signal):
    """Make a server in standby accept again; one that does not is stopped, to be started anew."""

    verb = "resume"


@dataclass(frozen=True)
class Enable(Action):
    """Let a boot start the unit."""

    verb = "enable"


@dataclass(frozen=True)
class Disable(Action):
    """Keep a boot from starting the unit."""

    verb = "disable"


@dataclass(frozen=True)
class ResetFailed(Action):
    """Clear a failure that has been taken note of."""

    verb = "reset"


@dataclass(frozen=True)
class Clean(Action):
    """Make systemd remove the directories that belong to a stopped unit."""

    verb = "clean"


@dataclass(frozen=True)
class ShowPin(Action):
    """Show units a recorded digest again: somebody changed or removed the file that shows it."""

    pin: str

    verb = "restore the recorded digest of"
