"""When something that failed is tried again: later each time, capped, jittered, forgotten when it works."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from reconciler.core.units.observed import Unit


@dataclass(frozen=True)
class Hold:
    """One failure that was taken note of."""

    invocation: str
    count: int
    not_before: float
    """Seconds on the monotonic clock."""
    why: str


@dataclass(frozen=True)
class Backoff:
    """Which units are held back, and why."""

    retry_later: Mapping[str, Hold] = field(default_factory=dict)

    def active(self, now: float) -> dict[str, str]:
        """The units that must not be tried yet, with the reason of their last failure."""
        return {unit: hold.why for unit, hold in self.retry_later.items() if hold.not_before > now}

    def next_deadline(self, now: float) -> float | None:
        """When the next hold ends, on the monotonic clock; None when nothing is held."""
        return min((hold.not_before for hold in self.retry_later.values() if hold.not_before > now), default=None)


def delay(count: int, shortest: float, longest: float, jitter: float) -> float:
    """Seconds to wait after the `count`-th failure in a row; `jitter` in 0..1 spreads it over the upper half."""
    full = min(longest, shortest * 2.0 ** min(count - 1, 32))
    return full / 2 + full / 2 * jitter


def update(
    backoff: Backoff,
    units: Mapping[str, Unit],
    files: Collection[str],
    why: Callable[[Unit], str],
    now: float,
    shortest: float,
    longest: float,
    jitter: Callable[[], float],
) -> Backoff:
    """Take note of new failures (each start counts once) and forget the units that work or are gone.

    systemd unloads a unit that was stopped; its hold stays as long as its file does.
    """
    retry_later = {name: hold for name, hold in backoff.retry_later.items() if name not in units and name in files}
    for name, unit in units.items():
        held = backoff.retry_later.get(name)
        if unit.has_failed:
            if held is None or held.invocation != unit.invocation:
                count = held.count + 1 if held else 1
                held = Hold(unit.invocation, count, now + delay(count, shortest, longest, jitter()), why(unit))
            retry_later[name] = held
        elif held is not None and unit.active != "active":
            retry_later[name] = held
    return Backoff(retry_later)
