"""What the reconciler remembers from pass to pass; all of it may be lost, at the price of an early retry."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from reconciler.core.state.backoff import Backoff, Hold, delay
from reconciler.core.units import names
from reconciler.core.units.observed import Observed

TRIED_PORTS = 8
"""How many ports a socket tries before its failure is taken for another one."""
REFUSED_FOR = 600.0
"""Seconds."""


@dataclass(frozen=True)
class Pause:
    """An action of a deployment failed: its turn comes again later."""

    count: int
    not_before: float
    """Seconds on the monotonic clock."""
    why: str


@dataclass(frozen=True)
class Memory:
    """Failures that were taken note of."""

    backoff: Backoff = field(default_factory=Backoff)
    pauses: Mapping[str, Pause] = field(default_factory=dict)
    """By deployment, or by unit for what deployments share."""
    busy_ports: Mapping[int, float] = field(default_factory=dict)
    """Ports that somebody else holds, and until when, in seconds on the monotonic clock, they are left alone."""
    reload_due: bool = True
    """Nobody knows what happened before the first pass."""
    unselected: Mapping[str, float] = field(default_factory=dict)
    """Since when, in seconds on the monotonic clock, deployments are known not to be selected."""
    mended: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """When, on the same clock, something of a deployment was mended."""

    def paused(self, now: float) -> dict[str, str]:
        """The deployments whose turn has not come again, with the reason."""
        return {name: pause.why for name, pause in self.pauses.items() if pause.not_before > now}

    def next_deadline(self, now: float) -> float | None:
        """When the next retry is due, on the monotonic clock."""
        deadlines = [pause.not_before for pause in self.pauses.values() if pause.not_before > now]
        held = self.backoff.next_deadline(now)
        return min([*deadlines, held] if held is not None else deadlines, default=None)

    def pause(self, name: str, why: str, now: float, shortest: float, longest: float, jitter: float) -> "Memory":
        """Take note that an action failed."""
        count = self.pauses[name].count + 1 if name in self.pauses else 1
        pause = Pause(count, now + delay(count, shortest, longest, jitter), why)
        return replace(self, pauses={**self.pauses, name: pause})

    def note_selection(self, present: Collection[str], selected: Collection[str], now: float) -> "Memory":
        """Take note of what is here and not selected."""
        unselected = {name: self.unselected.get(name, now) for name in present if name not in selected}
        return replace(self, unselected=unselected)

    def note_mended(self, mended: Collection[str], now: float, window: float) -> "Memory":
        """Take note of what was mended, and forget what was mended more than `window` seconds ago."""
        times = {name: (*self.mended.get(name, ()), *((now,) if name in mended else ())) for name in self.mended}
        times |= {name: (now,) for name in mended if name not in self.mended}
        recent = {name: tuple(one for one in at if one > now - window) for name, at in times.items()}
        return replace(self, mended={name: at for name, at in recent.items() if at})

    def exhausted(self, budget: int, now: float, window: float) -> frozenset[str]:
        """The deployments that were mended `budget` times within the last `window` seconds."""
        return frozenset(
            name for name, at in self.mended.items() if sum(1 for one in at if one > now - window) >= budget
        )

    def forgive(self, name: str, shared: Collection[str] = ()) -> "Memory":
        """Let everything of a deployment be tried at once, and the units that it shares with others."""
        retry_later = {
            unit: hold
            for unit, hold in self.backoff.retry_later.items()
            if names.deployment_of(unit) != name and unit not in shared
        }
        pauses = {key: pause for key, pause in self.pauses.items() if key != name and key not in shared}
        mended = {key: at for key, at in self.mended.items() if key != name}
        return replace(self, backoff=Backoff(retry_later), pauses=pauses, mended=mended)

    def without_reload(self) -> "Memory":
        """For looking only: whether systemd has read its files is not seen from outside the daemon."""
        return replace(self, reload_due=False)

    def forget_pause(self, name: str) -> "Memory":
        """Take note that a deployment's actions worked."""
        if name not in self.pauses:
            return self
        return replace(self, pauses={key: value for key, value in self.pauses.items() if key != name})


def busy_ports(
    seen: Observed, known: Mapping[int, float], retry_later: Mapping[str, Hold], now: float
) -> dict[int, float]:
    """Find the ports that systemd could not bind: from inside, a host's other listeners cannot be seen.

    Each is left alone for a while. A socket that fails again and again, whatever its port, has another trouble.
    """
    found = {port: until for port, until in known.items() if until > now}
    for unit, file in seen.files.items():
        state, port = seen.unit(unit), file.facts.port
        if names.parse_socket(unit) is None or port is None or port in found:
            continue
        often = unit in retry_later and retry_later[unit].count > TRIED_PORTS
        if state.active == "failed" and state.result == "resources" and not often:
            found[port] = now + REFUSED_FOR
    return found
