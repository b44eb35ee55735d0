"""systemd over the system D-Bus. The traps that are avoided here were measured; each is named where it matters."""

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
"""Where in systemd's word on a command the moment stands at which it was started, in microseconds; 0 after a reload."""
_FOR_EVER = 2**64 - 1
"""Microseconds: systemd's infinity."""
_DEADLINES = {"activating": "TimeoutStartUSec", "deactivating": "TimeoutStopUSec", "reloading": ""}
"""By state, the property that says how long it may last."""
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
            if names.is_ours(name):
                unit = self._unit(name, load, _with_job(active, job), sub, path)
                unit = self._with_deadline(unit, active, path) if active in _DEADLINES else unit
                found[name] = replace(unit, floods=True) if self._signals.floods(name) else unit
        return found

    def _with_deadline(self, unit: Unit, active: str, path: str) -> Unit:
        """Since when a server is in a state that should pass, and how long its unit gives it for that."""
        if names.parse_server(unit.name) is None or unit.sub == "auto-restart":
            return unit
        changed, key = self._moment(path, "StateChangeTimestampMonotonic"), _DEADLINES[active]
        allowed = self._property(path, "Service", key) if key else _FOR_EVER
        since = unit.since or self._moment(path, "ActiveEnterTimestampMonotonic")
        due = 0.0 if allowed == _FOR_EVER else allowed / 1e6
        return replace(unit, ever_active=since > 0, since=since, changed=changed, allowed=due)

    def _unit(self, name: str, load: str, active: str, sub: str, path: str) -> Unit:
        plain = Unit(name, load, active, sub)
        if active == "active" and sub == "running" and names.parse_server(name):
            return Unit(
                name,
                load,
                active,
                sub,
                status_text=self._property(path, "Service", "StatusText"),
                restarts=self._property(path, "Service", "NRestarts"),
                ever_active=True,
                since=self._moment(path, "ActiveEnterTimestampMonotonic"),
            )
        if active == "inactive" and names.parse_server(name):
            since = self._moment(path, "ActiveEnterTimestampMonotonic")
            return Unit(name, load, active, sub, ever_active=since > 0, since=since)
        kind = "Service" if name.endswith(".service") else "Socket" if name.endswith(".socket") else None
        if kind is None or active in ("inactive", "deactivating") or (active == "active" and sub != "exited"):
            return plain
        set_up, exit_status = self._exit(name, path, sub) if kind == "Service" else (None, 0)
        return Unit(
            name,
            load,
            active,
            sub,
            result=self._property(path, kind, "Result"),
            status_text=self._property(path, kind, "StatusText") if kind == "Service" else "",
            exit_status=exit_status,
            set_up=set_up,
            restarts=self._property(path, kind, "NRestarts") if kind == "Service" else 0,
            ever_active=(since := self._moment(path, "ActiveEnterTimestampMonotonic")) > 0,
            invocation=bytes(self._property(path, "Unit", "InvocationID")).hex(),
            since=since,
            ended=self._moment(path, "InactiveEnterTimestampMonotonic") if active == "failed" else 0.0,
        )

    def _exit(self, name: str, path: str, sub: str) -> tuple[bool | None, int]:
        """Whether a server's program was begun, where something runs before it, and the status that tells how it ended.

        By the moments, which outlive a reload of the unit files; how the commands before it ended does not.
        """
        before = self._property(path, "Service", "ExecStartPre") if names.parse_server(name) else ()
        main = self._property(path, "Service", "ExecMainStatus")
        if not before:
            return None, main
        begun = self._property(path, "Service", "ExecMainStartTimestampMonotonic") / 1e6
        tried = self._moment(path, "InactiveExitTimestampMonotonic")
        if sub == "auto-restart":  # which systemd counts as the start that it waits for
            tried = before[0][_BEGAN] / 1e6
        if not tried:
            return None, main
        if begun >= tried:
            return True, main
        return False, next((status for *_, code, status in before if code and status), 0)

    def _moment(self, path: str, name: str) -> float:
        """Read a time stamp of CLOCK_MONOTONIC, in seconds; systemd gives microseconds."""
        return float(self._property(path, "Unit", name)) / 1e6

    def status_text(self, unit: str) -> str:
        """Read what a service last said of itself."""
        path = self._call("LoadUnit", unit)
        return str(self._property(path, "Service", "StatusText"))

    def reload(self) -> None:
        """Have the unit files read again."""
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
        # One that has ended meanwhile is nobody to tell anything.
        self._call("KillUnit", unit, "main", number, ignore=(_NO_SUCH_UNIT, _NOT_LOADED, _NO_SUCH_PROCESS))

        def done() -> bool:
            active = self._property(path, "Unit", "ActiveState")
            text = self._property(path, "Service", "StatusText")
            # One that says it reloads has not followed, and goes on answering.
            return active not in ("active", "reloading") or followed(Unit(unit, active=active, status_text=text))

        if not self._signals.wait_for(done, patience):
            self.stop(unit)

    def kill(self, unit: str) -> None:
        """Have SIGKILL sent to every process of the unit: no deadline of systemd's is waited for."""
        # systemd says so, too, when the control group goes with the first process that it kills.
        self._call("KillUnit", unit, "all", signal.SIGKILL, ignore=(_NO_SUCH_UNIT, _NOT_LOADED, _NO_SUCH_PROCESS, _IO))
        self._signals.was_killed(unit)

    def enable(self, unit: str) -> None:
        """Have a boot start the unit."""
        self._call("EnableUnitFiles", [unit], False, True)

    def disable(self, unit: str) -> None:
        """Have a boot not start the unit."""
        self._call("DisableUnitFiles", [unit], False)

    def reset_failed(self, unit: str) -> None:
        """Clear a unit's failure."""
        self._call("ResetFailedUnit", unit, ignore=(_NO_SUCH_UNIT, _NOT_LOADED))

    def clean(self, unit: str) -> None:
        """Remove a stopped unit's directories; systemd does it in the background, a moment is waited for it."""
        # A removal that failed leaves the unit failed, and a failed one counts as busy.
        self.reset_failed(unit)
        # Of a server only its cache is its own: what it serves belongs to the steps.
        self._call("CleanUnit", unit, ["cache"] if names.parse_server(unit) else ["state", "runtime"])
        path = self._call("LoadUnit", unit)
        if not self._signals.wait_for(lambda: self._property(path, "Unit", "SubState") != "cleaning", A_MOMENT):
            raise SystemdBusyError(f"systemd is still removing the directories of {unit}")
        if (result := self._property(path, "Service", "CleanResult")) != "success":
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
    """A unit's state with what is queued for it: a job that was accepted may not have begun."""
    if job in ("start", "restart") and active in ("inactive", "failed"):
        return "activating"
    if job == "stop" and active in ("active", "activating"):
        return "deactivating"
    return active
