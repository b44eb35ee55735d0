"""What the reconciler needs of systemd."""

from collections.abc import Callable, Mapping
from typing import Protocol

from reconciler.core.units.observed import Unit


class SystemdError(Exception):
    """systemd refused or failed a call; the message begins with `cannot`."""


class SystemdBusyError(SystemdError):
    """systemd still carries it out, or another job of the unit. Not a failure: ask again when the unit changes."""


# The real one is adapters/systemd_dbus.py, the fake one tests/fakes/systemd.py; the same contract tests hold for both.
class Systemd(Protocol):
    """The service manager of this host. Every call ends within a time-out and raises SystemdError when it fails."""

    def units(self) -> Mapping[str, Unit]:
        """Show every loaded unit whose name is one of ours."""

    def status_text(self, unit: str) -> str:
        """Read the last status line of a service; "" when it has none."""

    def reload(self) -> None:
        """Make systemd read the unit files again."""

    def start(self, unit: str) -> None:
        """Ask for a start; returns when systemd has accepted the job."""

    def start_and_wait(self, unit: str) -> None:
        """Start and wait for the job's result; anything but a started unit is an error."""

    def stop(self, unit: str) -> None:
        """Ask for a stop; returns when systemd has accepted the job. A unit that is not loaded is stopped."""

    def stand_by(self, unit: str, patience: float) -> None:
        """Make a server close its listeners. One that has not followed in `patience` seconds is asked to stop."""

    def resume(self, unit: str, patience: float) -> None:
        """Make a server in standby accept again. One that has not followed in `patience` seconds is asked to stop."""

    def kill(self, unit: str) -> None:
        """End every process of a unit by force, at once. A unit that is not loaded has none."""

    def enable(self, unit: str) -> None:
        """Make a boot start the unit."""

    def disable(self, unit: str) -> None:
        """Make a boot not start the unit."""

    def reset_failed(self, unit: str) -> None:
        """Clear a unit's failure; nothing when it has none."""

    def clean(self, unit: str) -> None:
        """Remove the directories of a unit that is stopped or failed; returns when they are gone.

        Raises SystemdBusyError when that takes longer than a moment: large directories must not hold up a pass.
        """

    def watch(self, wake: Callable[[], None], lost: Callable[[], None]) -> None:
        """Call `wake` after every change of a unit or a job, `lost` when no more changes come; from another thread."""
