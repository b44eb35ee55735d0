"""The actions of a plan, as values; `str()` of each is what people read in `reconciler plan` and in the journal."""

from collections.abc import Mapping
from dataclasses import dataclass

Value = str | int | bool | list[str]


@dataclass(frozen=True)
class Action:
    """Something to do to one unit for one deployment (empty for what deployments share)."""

    deployment: str
    unit: str

    verb = "do"

    def __str__(self) -> str:
        return f"{self.verb} {self.unit}"


@dataclass(frozen=True)
class Render(Action):
    """Render a unit from a template, verify it, keep the copy and install it."""

    template: str
    values: Mapping[str, Value]
    facts: Mapping[str, str]

    verb = "write"


@dataclass(frozen=True)
class Install(Action):
    """Put the rendered copy back where somebody changed or removed it."""

    verb = "restore"


@dataclass(frozen=True)
class Remove(Action):
    """Remove a unit's file and its rendered copy."""

    verb = "remove"


@dataclass(frozen=True)
class Reload(Action):
    """Make systemd read its unit files again; once a pass."""

    def __str__(self) -> str:
        return "reload systemd's unit files"


@dataclass(frozen=True)
class Start(Action):
    """Ask for a start; a service's progress is observed in later passes, a socket is waited for."""

    verb = "start"


@dataclass(frozen=True)
class Stop(Action):
    """Ask for a stop; observed in later passes."""

    verb = "stop"


@dataclass(frozen=True)
class Enable(Action):
    """Have a boot start it."""

    verb = "enable"


@dataclass(frozen=True)
class Disable(Action):
    """Have a boot not start it."""

    verb = "disable"


@dataclass(frozen=True)
class ResetFailed(Action):
    """Clear a failure that has been taken note of."""

    verb = "reset"


@dataclass(frozen=True)
class Clean(Action):
    """Have systemd remove the directories that belong to a stopped unit."""

    verb = "clean"


CHANGES_FILES = (Render, Install, Remove)
