"""systemd over the system D-Bus. Its traps were found by measuring; each is named where it is avoided."""

import re
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from gi.repository import Gio, GLib
from pydbus import SystemBus

from reconciler.adapters.kept_units import KeptUnits
from reconciler.adapters.signals import BUS, MANAGER, Signals
from reconciler.adapters.unit_reading import Row, read_unit
from reconciler.adapters.unit_rows import SIGNATURE, rows_of
from reconciler.core.units import names
from reconciler.core.units.observed import Unit
from reconciler.ports.systemd import SystemdBusyError, SystemdError

_PATH = "/org/freedesktop/systemd1"
_NO_SUCH_UNIT = "org.freedesktop.systemd1.NoSuchUnit"
_NOT_LOADED = "org.freedesktop.systemd1.UnitNotLoaded"
_NO_SUCH_PROCESS = "org.freedesktop.systemd1.NoSuchProcess"
_IO = "org.freedesktop.DBus.Error.IOError"
_BUSY = "org.freedesktop.systemd1.UnitBusy"
A_MOMENT = 2.0
"""Seconds that a removal may hold up a pass."""


class SystemdOverDbus:
    """One connection, and one manager proxy (introspecting costs 8 ms)."""

    def __init__(self, timeout: float) -> None:
        """Connect; `timeout` in seconds bounds every call and every wait for a job."""
        self._timeout = timeout
        self._bus = self._guard("reach the system bus", SystemBus)
        self._manager = self._guard("reach systemd", lambda: self._bus.get(BUS, _PATH, timeout=timeout)[MANAGER])
        self._call("Subscribe")
        self._kept = KeptUnits(self._read)
        self._signals = Signals(self._bus.con, self._kept)

    def close(self) -> None:
        """Stop listening to signals."""
        self._signals.close()

    def watch(self, wake: Callable[[], None], lost: Callable[[], None]) -> None:
        """Call `wake` after every change of a unit or a job, and `lost` when the connection is closed."""
        self._signals.wake = wake
        # GLib would raise SIGTERM in a thread of its own, which does not wake the main thread.
        self._bus.con.set_exit_on_close(False)
        self._bus.con.connect("closed", lambda *_: lost())

    def units(self) -> Mapping[str, Unit]:
        """Show every loaded unit whose name is one of ours: one call, and more for those that changed since."""
        if not self._signals.hears:
            self._kept.forget()
        found = self._kept.look(self._rows)
        self._signals.servers = sum(names.parse_server(name) is not None for name in found)
        for name in self._signals.flooding() & found.keys():
            found[name] = replace(found[name], floods=True)
        return found

    def _rows(self) -> list[Row]:
        arguments = GLib.Variant("(asas)", ([], list(names.UNIT_GLOBS)))
        return rows_of(self._sync("list units", _PATH, MANAGER, "ListUnitsByPatterns", arguments, SIGNATURE))

    def _read(self, row: Row) -> Unit:
        return read_unit(row, lambda interface, name: self._property(row.path, interface, name))

    def version(self) -> int:
        """Read systemd's version, the number before the first dot. Raises SystemdError."""
        text = str(self._property(_PATH, "Manager", "Version"))
        number = re.match("[0-9]+", text)
        if number is None:
            raise SystemdError(f"cannot tell systemd's version: it says {text[:40]!r}")
        return int(number[0])

    def status_text(self, unit: str) -> str:
        """Read the last status line of a service."""
        path = self._call("LoadUnit", unit)
        return str(self._property(path, "Service", "StatusText"))

    def reload(self) -> None:
        """Make systemd read the unit files again."""
        self._kept.note_doubt()
        self._call("Reload")

    def start(self, unit: str) -> None:
        """Ask for a start."""
        self._change("StartUnit", unit, "replace")

    def start_and_wait(self, unit: str) -> None:
        """Start, wait for the job, and look at the unit itself: the result "done" is not success."""
        result = self._wait_for_job(unit, self._change("StartUnit", unit, "replace"))
        path = self._call("LoadUnit", unit)
        if self._property(path, "Unit", "ActiveState") != "active":
            raise SystemdError(f"cannot start {unit}: its job ended with {result!r}; see the journal of {unit}")

    def stop(self, unit: str) -> None:
        """Ask for a stop."""
        self._change("StopUnit", unit, "replace", ignore=(_NO_SUCH_UNIT, _NOT_LOADED))

    def stand_by(self, unit: str, patience: float) -> None:
        """Send SIGUSR1 and wait for the status line that tells that it was followed."""
        self._signal(unit, signal.SIGUSR1, lambda seen: seen.stands_by, patience)

    def resume(self, unit: str, patience: float) -> None:
        """Send SIGUSR2 and wait for the status line that tells that it was followed."""
        self._signal(unit, signal.SIGUSR2, lambda seen: seen.is_up, patience)

    def _signal(self, unit: str, number: int, followed: Callable[[Unit], bool], patience: float) -> None:
        path = self._call("LoadUnit", unit)
        # A server that has ended meanwhile needs no signal.
        self._change("KillUnit", unit, "main", number, ignore=(_NO_SUCH_UNIT, _NOT_LOADED, _NO_SUCH_PROCESS))

        def done() -> bool:
            active = self._property(path, "Unit", "ActiveState")
            text = self._property(path, "Service", "StatusText")
            has_ended = active not in ("active", "reloading")
            # A server that says it reloads has not followed, and goes on answering.
            return has_ended or followed(Unit(unit, active=active, status_text=text))

        if not self._signals.wait_for(done, patience):
            self.stop(unit)

    def kill(self, unit: str) -> None:
        """Send SIGKILL to every process of the unit, without waiting for any deadline of systemd."""
        # An I/O error is what systemd answers when the control group goes with the first process that it kills.
        self._change(
            "KillUnit", unit, "all", signal.SIGKILL, ignore=(_NO_SUCH_UNIT, _NOT_LOADED, _NO_SUCH_PROCESS, _IO)
        )
        self._signals.was_killed(unit)

    def enable(self, unit: str) -> None:
        """Make a boot start the unit."""
        self._call("EnableUnitFiles", [unit], False, True)

    def disable(self, unit: str) -> None:
        """Make a boot not start the unit."""
        self._call("DisableUnitFiles", [unit], False)

    def reset_failed(self, unit: str) -> None:
        """Clear a unit's failure."""
        self._change("ResetFailedUnit", unit, ignore=(_NO_SUCH_UNIT, _NOT_LOADED))

    def clean(self, unit: str) -> None:
        """Remove a stopped unit's directories; systemd does it in the background, and this waits for a moment."""
        # A removal that failed leaves the unit failed, and a failed one counts as busy.
        self.reset_failed(unit)
        # Of a server only its caches are its own: the release that it serves belongs to the steps.
        is_of_a_server = names.parse_server(unit) is not None or names.keeps_compiled(unit)
        kinds = ["cache"] if is_of_a_server else ["state", "runtime"]
        self._change("CleanUnit", unit, kinds)
        path = self._call("LoadUnit", unit)
        if not self._signals.wait_for(lambda: self._property(path, "Unit", "SubState") != "cleaning", A_MOMENT):
            raise SystemdBusyError(f"systemd is still removing the directories of {unit}")
        result = self._property(path, "Service", "CleanResult")
        if result != "success":
            raise SystemdError(f"cannot clean {unit}: systemd says {result!r}; see the journal of {unit}")

    def _wait_for_job(self, unit: str, job: str) -> str:
        results: list[str] = []

        def ended() -> bool:
            result = self._signals.take_result(job)
            results.extend([] if result is None else [result])
            return result is not None

        if not self._signals.wait_for(ended, self._timeout):
            raise SystemdError(f"cannot start {unit}: its job is still running after {self._timeout:.0f} s")
        return results[0]

    def _property(self, path: str, interface: str, name: str) -> Any:
        """Read one property with a time-out, which attribute access of a proxy does not have."""
        arguments = GLib.Variant("(ss)", (f"org.freedesktop.systemd1.{interface}", name))
        return self._sync(f"read {name}", path, "org.freedesktop.DBus.Properties", "Get", arguments, "(v)").unpack()[0]

    def _sync(self, what: str, path: str, interface: str, method: str, arguments: GLib.Variant, reply: str) -> Any:
        """Call without a proxy, and return the answer as it came: its type is `reply`."""
        type_, flags, milliseconds = GLib.VariantType(reply), Gio.DBusCallFlags.NONE, int(self._timeout * 1000)
        bus = self._bus.con
        return self._guard(
            what,
            lambda: bus.call_sync(BUS, path, interface, method, arguments, type_, flags, milliseconds, None),
        )

    def _change(self, method: str, unit: str, *arguments: object, ignore: tuple[str, ...] = ()) -> Any:
        """Call what changes a unit: the next look is to see what came of it, though its signal may come later."""
        self._kept.note_change(unit)
        return self._call(method, unit, *arguments, ignore=ignore)

    def _call(self, method: str, *arguments: object, ignore: tuple[str, ...] = ()) -> Any:
        what = f"do {method} {arguments[0]}" if arguments and isinstance(arguments[0], str) else f"do {method}"
        return self._guard(what, lambda: getattr(self._manager, method)(*arguments, timeout=self._timeout), ignore)

    @staticmethod
    def _guard(what: str, call: Callable[[], Any], ignore: tuple[str, ...] = ()) -> Any:
        try:
            return call()
        except GLib.GError as error:
            name = Gio.DBusError.get_remote_error(error)
            if name in ignore:
                return None
            kind = SystemdBusyError if name == _BUSY else SystemdError
            raise kind(f"cannot {what}: {error.message}") from error
