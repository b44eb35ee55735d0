"""systemd over the system D-Bus. Its traps were found by measuring; each is named where it is avoided."""

import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from gi.repository import Gio, GLib
from pydbus import SystemBus

from reconciler.adapters.signals import BUS, MANAGER, Signals
from reconciler.core.units import names
from reconciler.core.units.observed import Unit
from reconciler.ports.systemd import SystemdBusyError, SystemdError

_PATH = "/org/freedesktop/systemd1"
_NO_SUCH_UNIT = "org.freedesktop.systemd1.NoSuchUnit"
_NOT_LOADED = "org.freedesktop.systemd1.UnitNotLoaded"
_NO_SUCH_PROCESS = "org.freedesktop.systemd1.NoSuchProcess"
_IO = "org.freedesktop.DBus.Error.IOError"
_BUSY = "org.freedesktop.systemd1.UnitBusy"
_BEGAN = 4
"""Index of the start of a command in ExecStartPre=, in microseconds of the monotonic clock; 0 after a reload."""
_FOR_EVER = 2**64 - 1
"""Microseconds: systemd's infinity."""
_DEADLINES = {"activating": "TimeoutStartUSec", "deactivating": "TimeoutStopUSec", "reloading": ""}
"""By state, the property that says how long it may last; "" where systemd has no such limit."""
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
        self._signals = Signals(self._bus.con)

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
        """Show every loaded unit whose name is one of ours; details only where they are needed (0.5 ms each)."""
        found = {}
        for row in self._call("ListUnitsByPatterns", [], list(names.UNIT_GLOBS)):
            name, _, load, active, sub, _, path, _, job, _ = row
            if not names.is_ours(name):
                continue
            unit = self._unit(name, load, _with_job(active, job), sub, path)
            if active in _DEADLINES:
                unit = self._with_deadline(unit, active, path)
            if self._signals.floods(name):
                unit = replace(unit, floods=True)
            found[name] = unit
        return found

    def _with_deadline(self, unit: Unit, active: str, path: str) -> Unit:
        """Add since when a server is in a state that should pass, and how many seconds its unit allows for that."""
        if names.parse_server(unit.name) is None or unit.sub == "auto-restart":
            return unit
        changed = self._moment(path, "StateChangeTimestampMonotonic")
        key = _DEADLINES[active]
        allowed = self._property(path, "Service", key) if key else _FOR_EVER
        since = unit.since or self._moment(path, "ActiveEnterTimestampMonotonic")
        due = 0.0 if allowed == _FOR_EVER else allowed / 1e6
        return replace(unit, ever_active=since > 0, since=since, changed=changed, allowed=due)

    def _unit(self, name: str, load: str, active: str, sub: str, path: str) -> Unit:
        """Read of a unit what the planner needs in its state: each property costs a call."""
        plain = Unit(name, load, active, sub)
        if names.parse_server(name):
            if active == "active" and sub == "running":
                return self._running_server(plain, path)
            if active == "inactive":
                since = self._moment(path, "ActiveEnterTimestampMonotonic")
                return replace(plain, ever_active=since > 0, since=since)
        if names.parse_bridge(name) and active == "active":
            return replace(plain, status_text=self._property(path, "Service", "StatusText"))
        is_stopped = active in ("inactive", "deactivating")
        is_up = active == "active" and sub != "exited"
        if is_stopped or is_up:
            return plain
        if name.endswith(".service"):
            return self._ended_service(plain, path)
        if name.endswith(".socket"):
            return self._with_end(plain, path, "Socket")
        return plain

    def _running_server(self, plain: Unit, path: str) -> Unit:
        return replace(
            plain,
            status_text=self._property(path, "Service", "StatusText"),
            restarts=self._property(path, "Service", "NRestarts"),
            ever_active=True,
            since=self._moment(path, "ActiveEnterTimestampMonotonic"),
        )

    def _ended_service(self, plain: Unit, path: str) -> Unit:
        """Read how a service failed, or what a step reported that is done: such a unit stays active, as "exited"."""
        set_up, exit_status = self._exit(plain.name, path, plain.sub)
        return replace(
            self._with_end(plain, path, "Service"),
            status_text=self._property(path, "Service", "StatusText"),
            exit_status=exit_status,
            set_up=set_up,
            restarts=self._property(path, "Service", "NRestarts"),
        )

    def _with_end(self, plain: Unit, path: str, interface: str) -> Unit:
        since = self._moment(path, "ActiveEnterTimestampMonotonic")
        return replace(
            plain,
            result=self._property(path, interface, "Result"),
            ever_active=since > 0,
            invocation=bytes(self._property(path, "Unit", "InvocationID")).hex(),
            since=since,
            ended=self._moment(path, "InactiveEnterTimestampMonotonic") if plain.active == "failed" else 0.0,
        )

    def _exit(self, name: str, path: str, sub: str) -> tuple[bool | None, int]:
        """Return whether a server's main program was started, and the exit status that says how the server ended.

        The first is None where nothing runs before the program. It is told from time stamps: these survive a reload of
        the unit files, the results of the commands before the program do not.
        """
        before = self._property(path, "Service", "ExecStartPre") if names.parse_server(name) else ()
        main = self._property(path, "Service", "ExecMainStatus")
        if not before:
            return None, main
        main_began = self._property(path, "Service", "ExecMainStartTimestampMonotonic") / 1e6
        unit_began = self._moment(path, "InactiveExitTimestampMonotonic")
        if sub == "auto-restart":  # systemd sets that time stamp anew for the start that it waits for
            unit_began = before[0][_BEGAN] / 1e6
        if not unit_began:
            return None, main
        if main_began >= unit_began:
            return True, main
        failed = [status for *_, code, status in before if code and status]
        return False, failed[0] if failed else 0

    def _moment(self, path: str, name: str) -> float:
        """Read a time stamp of CLOCK_MONOTONIC, in seconds; systemd gives microseconds."""
        return float(self._property(path, "Unit", name)) / 1e6

    def status_text(self, unit: str) -> str:
        """Read the last status line of a service."""
        path = self._call("LoadUnit", unit)
        return str(self._property(path, "Service", "StatusText"))

    def reload(self) -> None:
        """Make systemd read the unit files again."""
        self._call("Reload")

    def start(self, unit: str) -> None:
        """Ask for a start."""
        self._call("StartUnit", unit, "replace")

    def start_and_wait(self, unit: str) -> None:
        """Start, wait for the job, and look at the unit itself: the result "done" is not success."""
        result = self._wait_for_job(unit, self._call("StartUnit", unit, "replace"))
        path = self._call("LoadUnit", unit)
        if self._property(path, "Unit", "ActiveState") != "active":
            raise SystemdError(f"cannot start {unit}: its job ended with {result!r}; see journalctl -u {unit}")

    def stop(self, unit: str) -> None:
        """Ask for a stop."""
        self._call("StopUnit", unit, "replace", ignore=(_NO_SUCH_UNIT, _NOT_LOADED))

    def stand_by(self, unit: str, patience: float) -> None:
        """Send SIGUSR1 and wait for the status line that tells that it was followed."""
        self._signal(unit, signal.SIGUSR1, lambda seen: seen.stands_by, patience)

    def resume(self, unit: str, patience: float) -> None:
        """Send SIGUSR2 and wait for the status line that tells that it was followed."""
        self._signal(unit, signal.SIGUSR2, lambda seen: seen.is_up, patience)

    def _signal(self, unit: str, number: int, followed: Callable[[Unit], bool], patience: float) -> None:
        path = self._call("LoadUnit", unit)
        # A server that has ended meanwhile needs no signal.
        self._call("KillUnit", unit, "main", number, ignore=(_NO_SUCH_UNIT, _NOT_LOADED, _NO_SUCH_PROCESS))

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
        self._call("KillUnit", unit, "all", signal.SIGKILL, ignore=(_NO_SUCH_UNIT, _NOT_LOADED, _NO_SUCH_PROCESS, _IO))
        self._signals.was_killed(unit)

    def enable(self, unit: str) -> None:
        """Make a boot start the unit."""
        self._call("EnableUnitFiles", [unit], False, True)

    def disable(self, unit: str) -> None:
        """Make a boot not start the unit."""
        self._call("DisableUnitFiles", [unit], False)

    def reset_failed(self, unit: str) -> None:
        """Clear a unit's failure."""
        self._call("ResetFailedUnit", unit, ignore=(_NO_SUCH_UNIT, _NOT_LOADED))

    def clean(self, unit: str) -> None:
        """Remove a stopped unit's directories; systemd does it in the background, and this waits for a moment."""
        # A removal that failed leaves the unit failed, and a failed one counts as busy.
        self.reset_failed(unit)
        # Of a server only its caches are its own: the release that it serves belongs to the steps.
        is_of_a_server = names.parse_server(unit) is not None or names.keeps_compiled(unit)
        kinds = ["cache"] if is_of_a_server else ["state", "runtime"]
        self._call("CleanUnit", unit, kinds)
        path = self._call("LoadUnit", unit)
        if not self._signals.wait_for(lambda: self._property(path, "Unit", "SubState") != "cleaning", A_MOMENT):
            raise SystemdBusyError(f"systemd is still removing the directories of {unit}")
        result = self._property(path, "Service", "CleanResult")
        if result != "success":
            raise SystemdError(f"cannot clean {unit}: systemd says {result!r}; see journalctl -u {unit}")

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
        reply = self._guard(
            f"read {name}",
            lambda: self._bus.con.call_sync(
                BUS,
                path,
                "org.freedesktop.DBus.Properties",
                "Get",
                GLib.Variant("(ss)", (f"org.freedesktop.systemd1.{interface}", name)),
                GLib.VariantType("(v)"),
                Gio.DBusCallFlags.NONE,
                int(self._timeout * 1000),
                None,
            ),
        )
        return reply.unpack()[0]

    def _call(self, method: str, *arguments: object, ignore: tuple[str, ...] = ()) -> Any:
        what = f"{method} {arguments[0]}" if arguments and isinstance(arguments[0], str) else method
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
            raise kind(f"cannot do {what}: {error.message}") from error


def _with_job(active: str, job: str) -> str:
    """Return a unit's state as of the job that is queued for it: an accepted job may not have begun."""
    if job in ("start", "restart") and active in ("inactive", "failed"):
        return "activating"
    if job == "stop" and active in ("active", "activating"):
        return "deactivating"
    return active
