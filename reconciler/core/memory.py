"""What the reconciler remembers from pass to pass; all of it may be lost, at the price of an early retry."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from reconciler.core import names
from reconciler.core.backoff import Backoff, Hold, delay
from reconciler.core.draft import port_of
from reconciler.core.observed import Observed

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
    refused_ports: Mapping[int, float] = field(default_factory=dict)
    """Ports that somebody else holds, and until when, in seconds on the monotonic clock, they are left alone."""
    reload_due: bool = True
    """Nobody knows what happened before the first pass."""

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

    def without_reload(self) -> "Memory":
        """For looking only: whether systemd has read its files is not seen from outside the daemon."""
        return replace(self, reload_due=False)

    def forget_pause(self, name: str) -> "Memory":
        """Take note that a deployment's actions worked."""
        if name not in self.pauses:
            return self
        return replace(self, pauses={key: value for key, value in self.pauses.items() if key != name})


def refused_ports(
    seen: Observed, known: Mapping[int, float], holds: Mapping[str, Hold], now: float
) -> dict[int, float]:
    """Find the ports that systemd could not bind: from inside, a host's other listeners cannot be seen.

    Each is left alone for a while. A socket that fails again and again, whatever its port, has another trouble.
    """
    found = {port: until for port, until in known.items() if until > now}
    for unit, file in seen.files.items():
        state, port = seen.unit(unit), port_of(file.facts)
        if names.parse_socket(unit) is None or port is None or port in found:
            continue
        often = unit in holds and holds[unit].count > TRIED_PORTS
        if state.active == "failed" and state.result == "resources" and not often:
            found[port] = now + REFUSED_FOR
    return found
