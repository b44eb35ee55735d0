"""What is read of one unit: a row of systemd's list says its state, and some states need properties beside it.

Each property is a call over D-Bus, so only those are read that the planner needs of a unit in its state.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from reconciler.core.units import names
from reconciler.core.units.names import Step
from reconciler.core.units.observed import Unit

_BEGAN = 4
"""Index of the start of a command in ExecStartPre=, in microseconds of the monotonic clock; 0 after a reload."""
_FOR_EVER = 2**64 - 1
"""Microseconds: systemd's infinity."""
_DEADLINES = {"activating": "TimeoutStartUSec", "deactivating": "TimeoutStopUSec", "reloading": ""}
"""By state, the property that says how long it may last; "" where systemd has no such limit."""

Get = Callable[[str, str], Any]
"""Reads a property of a unit, by the last word of its interface and its name, such as "Service", "StatusText"."""


class Row(NamedTuple):
    """What the list of systemd's units says of one of them."""

    name: str
    load: str
    active: str
    sub: str
    job: str = ""
    """The kind of the job that is queued for it."""
    path: str = ""
    """Of its object on the bus."""

    @property
    def state(self) -> str:
        """The unit's state as of the job that is queued for it: an accepted job may not have begun."""
        if self.job in ("start", "restart") and self.active in ("inactive", "failed"):
            return "activating"
        if self.job == "stop" and self.active in ("active", "activating"):
            return "deactivating"
        return self.active

    @property
    def plain(self) -> Unit:
        """The unit, as far as its row tells."""
        return Unit(self.name, self.load, self.state, self.sub)


def read_unit(row: Row, get: Get) -> Unit:
    """Read of a unit what the planner needs in its state; `get` raises what a call can raise."""
    unit = _in_its_state(row.plain, get)
    if row.active in _DEADLINES:
        return _with_deadline(unit, row.active, get)
    return unit


def _in_its_state(plain: Unit, get: Get) -> Unit:
    active, sub = plain.active, plain.sub
    if names.parse_server(plain.name):
        if active == "active" and sub == "running":
            return _running_server(plain, get)
        if active == "inactive":
            since = _moment(get, "ActiveEnterTimestampMonotonic")
            return replace(plain, ever_active=since > 0, since=since)
    if names.parse_bridge(plain.name) and active == "active":
        return replace(plain, status_text=get("Service", "StatusText"))
    is_stopped = active in ("inactive", "deactivating")
    is_up = active == "active" and sub != "exited"
    if is_stopped or is_up:
        return plain
    if plain.name.endswith(".service"):
        return _finished_service(plain, get) if active == "active" else _ended_service(plain, get)
    if plain.name.endswith(".socket"):
        return _with_end(plain, get, "Socket")
    return plain


def _running_server(plain: Unit, get: Get) -> Unit:
    return replace(
        plain,
        status_text=get("Service", "StatusText"),
        restarts=get("Service", "NRestarts"),
        ever_active=True,
        since=_moment(get, "ActiveEnterTimestampMonotonic"),
    )


def _finished_service(plain: Unit, get: Get) -> Unit:
    """Read what a step reported that is done: such a unit stays active, as "exited", and has no failure to tell of.

    A verification has nothing to report. There are up to three such units for each deployment, so nothing more is read.
    """
    step = names.parse_step(plain.name)
    reports = step is None or step.step is not Step.VERIFY
    done = replace(
        plain,
        status_text=get("Service", "StatusText") if reports else "",
        ever_active=True,
        since=_moment(get, "ActiveEnterTimestampMonotonic"),
    )
    # One without a report counts as failed, and its next start as another failure.
    return replace(done, invocation=_invocation(get)) if done.has_failed else done


def _ended_service(plain: Unit, get: Get) -> Unit:
    """Read how a service failed, or how it ended before the start that it waits for."""
    set_up, exit_status = _exit(plain.name, plain.sub, get)
    return replace(
        _with_end(plain, get, "Service"),
        status_text=get("Service", "StatusText"),
        exit_status=exit_status,
        set_up=set_up,
        restarts=get("Service", "NRestarts"),
    )


def _with_end(plain: Unit, get: Get, interface: str) -> Unit:
    since = _moment(get, "ActiveEnterTimestampMonotonic")
    return replace(
        plain,
        result=get(interface, "Result"),
        ever_active=since > 0,
        invocation=_invocation(get),
        since=since,
        ended=_moment(get, "InactiveEnterTimestampMonotonic") if plain.active == "failed" else 0.0,
    )


def _exit(name: str, sub: str, get: Get) -> tuple[bool | None, int]:
    """Return whether a server's main program was started, and the exit status that says how the server ended.

    The first is None where nothing runs before the program. It is told from time stamps: these survive a reload of
    the unit files, the results of the commands before the program do not.
    """
    before = get("Service", "ExecStartPre") if names.parse_server(name) else ()
    main = get("Service", "ExecMainStatus")
    if not before:
        return None, main
    main_began = get("Service", "ExecMainStartTimestampMonotonic") / 1e6
    unit_began = _moment(get, "InactiveExitTimestampMonotonic")
    if sub == "auto-restart":  # systemd sets that time stamp anew for the start that it waits for
        unit_began = before[0][_BEGAN] / 1e6
    if not unit_began:
        return None, main
    if main_began >= unit_began:
        return True, main
    failed = [status for *_, code, status in before if code and status]
    return False, failed[0] if failed else 0


def _with_deadline(unit: Unit, active: str, get: Get) -> Unit:
    """Add since when a server is in a state that should pass, and how many seconds its unit allows for that."""
    if names.parse_server(unit.name) is None or unit.sub == "auto-restart":
        return unit
    changed = _moment(get, "StateChangeTimestampMonotonic")
    if not changed:
        # It ended after the rows were read: systemd has forgotten it, and answers for one that was never in any state.
        return unit
    key = _DEADLINES[active]
    allowed = get("Service", key) if key else _FOR_EVER
    since = unit.since or _moment(get, "ActiveEnterTimestampMonotonic")
    due = 0.0 if allowed == _FOR_EVER else allowed / 1e6
    return replace(unit, ever_active=since > 0, since=since, changed=changed, allowed=due)


def _moment(get: Get, name: str) -> float:
    """Read a time stamp of CLOCK_MONOTONIC, in seconds; systemd gives microseconds."""
    return float(get("Unit", name)) / 1e6


def _invocation(get: Get) -> str:
    return bytes(get("Unit", "InvocationID")).hex()
