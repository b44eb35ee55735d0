"""systemd in memory, over real unit files; jobs end when the test says `settle`.

What is read of it goes through the same code as over the bus, so that it counts the calls that the real one would get.
"""

import contextlib
import re
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from reconciler.adapters.kept_units import KeptUnits
from reconciler.adapters.unit_reading import Row, read_unit
from reconciler.apply.render import OLDEST_SYSTEMD
from reconciler.core.units import names
from reconciler.core.units.observed import Unit
from reconciler.ports.systemd import SystemdError


@dataclass(frozen=True)
class Behaviour:
    """How a unit ends up when its job has run."""

    works: bool = True
    status_text: str = ""
    result: str = "exit-code"
    """What systemd calls the failure when it does not work."""
    obeys: bool = True
    """Whether a server steps aside and comes back when it is told to."""
    exit_status: int = 0
    set_up: bool | None = None
    lingers: bool = False
    """Whether its starts and stops last for ever: it has systemd's deadlines put off."""


WORKS = Behaviour()


def _property(unit: Unit, name: str) -> object:
    """Give a unit's property as it comes over the bus; times are in microseconds."""
    began, for_ever = 2_000_000, 2**64 - 1
    failed_before = (1, unit.exit_status) if unit.set_up is False else (0, 0)
    properties: dict[str, object] = {
        "StatusText": unit.status_text,
        "NRestarts": unit.restarts,
        "Result": unit.result,
        "InvocationID": bytes.fromhex(unit.invocation),
        "ActiveEnterTimestampMonotonic": round(unit.since * 1e6) or int(unit.ever_active),
        "InactiveEnterTimestampMonotonic": round(unit.ended * 1e6),
        "StateChangeTimestampMonotonic": round(unit.changed * 1e6),
        "TimeoutStartUSec": round(unit.allowed * 1e6) or for_ever,
        "TimeoutStopUSec": round(unit.allowed * 1e6) or for_ever,
        "ExecStartPre": [] if unit.set_up is None else [("", [], False, 0, began, 0, 0, 0, *failed_before)],
        "ExecMainStatus": unit.exit_status,
        "ExecMainStartTimestampMonotonic": began if unit.set_up else 0,
        "InactiveExitTimestampMonotonic": began,
    }
    return properties[name]


class _Told(dict[str, Unit]):
    """The units of a systemd that tells of each change, as its signals do."""

    def __init__(self, kept: KeptUnits) -> None:
        super().__init__()
        self._kept = kept
        self.is_mute = False

    def __setitem__(self, name: str, unit: Unit) -> None:
        super().__setitem__(name, unit)
        if not self.is_mute:
            self._kept.note_change(name)


class FakeSystemd:
    """Knows unit files, jobs, StateDirectory= and enablement, as far as the reconciler uses them."""

    def __init__(
        self,
        directory: Path,
        behave: Callable[[str], Behaviour] = lambda _unit: WORKS,
        monotonic: Callable[[], float] = lambda: 1.0,
    ) -> None:
        """Serve the unit files in `directory`; `behave` says what becomes of a unit that is started."""
        self.monotonic = monotonic
        self.directory = directory
        self.behave = behave
        self.state_directories = {"mlflow-deploy", "mlflow-deploy/model_deploys", "mlflow-deploy/environments"}
        """What exists below /var/lib; these are made by the installation."""
        self.held: set[str] = set()
        """Of these, some that cannot be removed."""
        self.taken_ports: set[int] = set()
        """Ports of 127.0.0.1 that somebody else listens on."""
        self.shipped: dict[str, str] = {}
        """Texts of units that the product ships, by the part before `@`."""
        self._known: dict[str, str] = {}
        self._started: dict[str, str] = {}
        """Texts of units that run: they are known even when their file is gone."""
        self.calls: Counter[str] = Counter()
        """How often systemd was asked over the bus, by what it was asked for."""
        self._kept = KeptUnits(self._read, monotonic)
        self._units = _Told(self._kept)

    def units(self) -> Mapping[str, Unit]:
        """Show what is loaded: systemd forgets units that neither run nor failed, unless a socket names them."""
        found = self._kept.look(self._rows)
        flooding = {name: replace(unit, floods=True) for name, unit in found.items() if self._units[name].floods}
        return {**found, **flooding}

    def _rows(self) -> list[Row]:
        self.calls["ListUnitsByPatterns"] += 1
        named = self._named_by_sockets()
        return [
            Row(name, unit.load, unit.active, unit.sub)
            for name, unit in self._units.items()
            if (unit.active != "inactive" or name in named) and names.is_ours(name)
        ]

    def _read(self, row: Row) -> Unit:
        def get(_interface: str, name: str) -> Any:
            self.calls["Get"] += 1
            return _property(self._units[row.name], name)

        return read_unit(row, get)

    def hold_signals(self, held: bool = True) -> None:
        """Have changes come untold."""
        self._units.is_mute = held

    def lose_signals(self) -> None:
        """Have it be known that changes came untold."""
        self._kept.forget()

    def _named_by_sockets(self) -> set[str | None]:
        return {
            self.service_of(unit)
            for unit, state in self._units.items()
            if unit.endswith(".socket") and state.active == "active"
        }

    def version(self) -> int:
        """The oldest systemd that there is a product for."""
        return OLDEST_SYSTEMD

    def invocation(self, unit: str) -> str:
        """The id of a unit's last start."""
        return self._units[unit].invocation

    def status_text(self, unit: str) -> str:
        """Read what a unit last said."""
        return self._units[unit].status_text if unit in self._units else ""

    def reload(self) -> None:
        """Read all unit files again."""
        self._known = {path.name: path.read_text() for path in self.directory.glob("*.*") if path.is_file()}

    def start(self, unit: str) -> None:
        """Begin to start; `settle` decides how it ends."""
        text = self._text(unit)
        state = self._units.get(unit, Unit(unit))
        if state.active in ("active", "activating"):
            return
        self._make_directories(unit, text)
        self._started[unit] = text
        self._units[unit] = Unit(
            unit,
            active="activating",
            sub="start",
            changed=self.monotonic(),
            allowed=self._allowed(unit, "TimeoutStartSec"),
            invocation=secrets.token_hex(16),
            ever_active=state.ever_active and (state.active != "inactive" or unit in self._named_by_sockets()),
        )

    def start_and_wait(self, unit: str) -> None:
        """Start and settle at once."""
        if self._units.get(unit, Unit(unit)).active == "active":
            return
        service = self.service_of(unit)
        if service and self._units.get(service, Unit(service)).active == "active":
            raise SystemdError(f"cannot start {unit}: its service is active already")
        self.start(unit)
        self.settle_one(unit)
        if self._units[unit].active != "active":
            raise SystemdError(f"cannot start {unit}: its job ended with 'failed'")

    def service_of(self, socket: str) -> str | None:
        """The service that a connection to the socket starts, as far as systemd has read; None without such a unit."""
        try:
            service = re.search(r"^Service=(.*)$", self._text(socket), re.MULTILINE)
        except SystemdError:
            return None
        return service[1] if service else None

    def stop(self, unit: str) -> None:
        """Begin to stop."""
        if unit in self._units and self._units[unit].active in ("active", "activating", "reloading"):
            self._units[unit] = replace(
                self._units[unit],
                active="deactivating",
                sub="stop-sigterm",
                changed=self.monotonic(),
                allowed=self._allowed(unit, "TimeoutStopSec"),
            )

    def stand_by(self, unit: str, patience: float) -> None:  # noqa: ARG002 - whether it obeys is known at once
        """Close a server's listeners."""
        self._say(unit, "beside the older server" if names.parse_bridge(unit) else "standing by")

    def resume(self, unit: str, patience: float) -> None:  # noqa: ARG002 - the same
        """Have a server accept again."""
        self._say(unit, "connected" if names.parse_bridge(unit) else "answering")

    def _say(self, unit: str, word: str) -> None:
        state = self._units.get(unit, Unit(unit))
        if state.active not in ("active", "reloading"):
            return  # nobody is to be told anything
        if state.active == "reloading" or not self.behave(unit).obeys:
            self.stop(unit)
            return
        counters = state.status_text.partition("; requests=")
        self._units[unit] = replace(state, status_text=f"{word} as {unit}{counters[1]}{counters[2]}")

    def kill(self, unit: str) -> None:
        """End it at once; what was not told to stop is started again, if its unit says so."""
        if unit not in self._units or self._units[unit].is_down:
            return
        if self._units[unit].active == "deactivating" or "Restart=on-failure" not in self._text(unit):
            state = replace(self._units[unit], active="failed", sub="failed", result="signal", changed=0.0, allowed=0.0)
            self._units[unit] = replace(state, floods=False, ended=self.monotonic())
        else:
            self.crash(unit)

    def reload_by_itself(self, unit: str) -> None:
        """Have a server tell systemd that it reloads."""
        self._units[unit] = replace(self._units[unit], active="reloading", sub="reload", changed=self.monotonic())

    def serve(self, unit: str, requests: int, errors: int) -> None:
        """Have a server say how many requests it answered."""
        state = self._units[unit]
        words = state.status_text.partition(";")[0] or f"answering as {unit}"
        self._units[unit] = replace(state, status_text=f"{words}; requests={requests} errors={errors}")

    def says(self, unit: str, line: str) -> None:
        """Have a unit say another line."""
        self._units[unit] = replace(self._units[unit], status_text=line)

    def flood(self, unit: str) -> None:
        """Have a server change more often than anybody listens to."""
        self._units[unit] = replace(self._units[unit], floods=True)

    def crash(self, unit: str, result: str = "signal") -> None:
        """Have a server end by itself; systemd will start it again."""
        state = self._units[unit]
        self._units[unit] = replace(
            state, active="activating", sub="auto-restart", result=result, allowed=0.0, floods=False
        )

    def settle(self) -> None:
        """End every job."""
        for unit in list(self._units):
            self.settle_one(unit)

    def enable(self, unit: str) -> None:
        """Link the unit as its [Install] section says."""
        wanted = re.search(r"^WantedBy=(.*)$", self._text(unit), re.MULTILINE)
        if wanted is None:
            raise SystemdError(f"cannot do EnableUnitFiles: {unit} has no [Install] section")
        link = self.directory / f"{wanted[1]}.wants" / unit
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(self.directory / unit)

    def disable(self, unit: str) -> None:
        """Remove its links."""
        for link in self.directory.glob("*.wants/*"):  # a link to a deleted unit, too
            if link.name == unit:
                link.unlink()

    def reset_failed(self, unit: str) -> None:
        """Forget a failure."""
        if unit in self._units and self._units[unit].active == "failed":
            self._end(unit)

    def _end(self, unit: str) -> None:
        state = self._units.pop(unit)
        self._started.pop(unit, None)
        if unit not in self._named_by_sockets():
            return
        self._units[unit] = Unit(unit, ever_active=state.ever_active, since=state.since, status_text=state.status_text)

    def clean(self, unit: str) -> None:
        """Remove the unit's directories and all that is below them."""
        if self._units.get(unit, Unit(unit)).active not in ("inactive", "failed"):
            raise SystemdError(f"cannot do CleanUnit {unit}: it runs")
        self.reset_failed(unit)
        for directory in self._directories(unit, self._text(unit)):
            if directory in self.held:
                self._units[unit] = Unit(unit, active="failed", sub="failed", result="exit-code")
                raise SystemdError(f"cannot clean {unit}: systemd says 'exit-code'")
            self.state_directories = {
                one for one in self.state_directories if one != directory and not one.startswith(f"{directory}/")
            }

    def watch(self, wake: Callable[[], None], lost: Callable[[], None]) -> None:
        """Nothing changes by itself."""

    def put(self, unit: Unit) -> None:
        """Have a unit be in a state that nobody asked for."""
        if unit.active == "inactive":
            self._units.pop(unit.name, None)
        elif not unit.name.endswith(".slice"):
            self._started[unit.name] = self._text(unit.name)
            self._units[unit.name] = unit

    def reboot(self) -> None:
        """Forget everything that runs, and start what is enabled."""
        self._units.clear()
        self._started.clear()
        self.reload()
        for link in sorted(self.directory.glob("*.wants/*")):
            with contextlib.suppress(SystemdError):
                (self.start_and_wait if link.name.endswith(".socket") else self.start)(link.name)
        self.settle()

    def settle_one(self, unit: str) -> None:
        """End a unit's job."""
        state = self._units[unit]
        if not state.is_down and state.active != "active" and self.behave(unit).lingers:
            return
        if state.active == "deactivating":
            self._end(unit)
        elif state.active == "activating":
            behaviour = self.behave(unit)
            if self._ports(unit) & self.taken_ports:
                behaviour = Behaviour(works=False, result="resources")
            if not behaviour.works:
                ended = self.monotonic()
                state = replace(state, active="failed", sub="failed", result=behaviour.result, ended=ended)
            else:
                oneshot = "Type=oneshot" in self._text(unit)
                sub = "exited" if oneshot else "listening" if unit.endswith(".socket") else "running"
                restarts = state.restarts + (state.sub == "auto-restart")
                now = self.monotonic()
                state = replace(state, active="active", sub=sub, ever_active=True, since=now, restarts=restarts)
            exit_status, set_up = behaviour.exit_status, behaviour.set_up
            state = replace(state, exit_status=exit_status, set_up=set_up, changed=0.0, allowed=0.0)
            self._units[unit] = replace(state, status_text=behaviour.status_text)

    def _text(self, unit: str) -> str:
        """A unit's text; a new file needs no reload, a changed one does."""
        if unit in self._known:
            return self._known[unit]
        path = self.directory / unit
        if path.is_file():
            return path.read_text()
        if unit in self._started:
            return self._started[unit]
        template = unit.partition("@")[0]
        if template in self.shipped:
            return self.shipped[template]
        raise SystemdError(f"cannot do LoadUnit {unit}: no such unit")

    def _allowed(self, unit: str, key: str) -> float:
        """Seconds that a server's unit gives it; systemd's own 90 where it says nothing."""
        if names.parse_server(unit) is None:
            return 0.0
        found = re.search(rf"^{key}=(\d+)$", self._text(unit), re.MULTILINE)
        return float(found[1]) if found else 90.0

    def _make_directories(self, unit: str, text: str) -> None:
        for directory in self._directories(unit, text):
            parts = directory.split("/")
            self.state_directories |= {"/".join(parts[: end + 1]) for end in range(len(parts))}

    def _ports(self, unit: str) -> set[int]:
        return {int(port) for port in re.findall(r"^ListenStream=127\.0\.0\.1:(\d+)$", self._text(unit), re.MULTILINE)}

    @staticmethod
    def _directories(unit: str, text: str) -> list[str]:
        instance = unit.partition("@")[2].rpartition(".")[0]
        return [line.replace("%i", instance) for line in re.findall(r"^StateDirectory=(.*)$", text, re.MULTILINE)]
