"""When something that failed is tried again: later each time, capped, jittered, forgotten when it works."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from reconciler.core.units.failures import why_failed
from reconciler.core.units.observed import Observed, Unit

_MAX_DOUBLINGS = 32


@dataclass(frozen=True)
class Retry:
    """A failure that was taken note of, and when the next try may be made."""

    count: int
    """Failures in a row, this one included."""
    not_before: float
    """Seconds on the monotonic clock."""
    why: str
    """The failure in one sentence, for people."""
    invocation: str = ""
    """Of a unit or a Job, the id of the start that failed; empty for an action of the reconciler."""


@dataclass(frozen=True)
class RetryPolicy:
    """How long to wait after a failure."""

    retry_min: float
    """Seconds after the first failure; each further failure in a row doubles them."""
    retry_max: float
    """Seconds that no wait exceeds."""
    jitter: Callable[[], float]
    """Gives a number in 0..1, a new one each time."""

    def delay(self, count: int) -> float:
        """Return the seconds to wait after the `count`-th failure in a row, the first of which is 1.

        They are in the upper half of what the count alone gives, spread by the jitter.
        """
        # After many failures the power would be too large for a float; the cap is reached long before.
        doublings = min(count - 1, _MAX_DOUBLINGS)
        full = min(self.retry_max, self.retry_min * 2.0**doublings)
        # Hosts that failed together, because of one registry, must not all come back to it together.
        return full / 2 + full / 2 * self.jitter()

    def after_failure(self, former: Retry | None, why: str, now: float, invocation: str = "") -> Retry:
        """Return what to remember of a failure; `former` is what was remembered of the one before it in a row.

        `now` is in seconds on the monotonic clock. `why` and `invocation` are those of `Retry`.
        """
        failures_before = former.count if former else 0
        count = failures_before + 1
        not_before = now + self.delay(count)
        return Retry(count, not_before, why, invocation)


@dataclass(frozen=True)
class Backoff:
    """What failed and has not worked since: by unit, or by deployment where an action for it failed."""

    retry_later: Mapping[str, Retry] = field(default_factory=dict)
    """Also those that may be tried again already: their next failure waits longer."""

    def waiting(self, now: float) -> dict[str, str]:
        """Return the names that must not be tried yet, each with the sentence of its last failure.

        `now` is in seconds on the monotonic clock, as everywhere here.
        """
        waiting = {}
        for name, retry in self.retry_later.items():
            is_due = retry.not_before <= now
            if not is_due:
                waiting[name] = retry.why
        return waiting

    def next_deadline(self, now: float) -> float | None:
        """Return when the next of them may be tried again, on the monotonic clock.

        None when nothing has to wait. What is due already counts no more: the pass of that moment has seen it.
        """
        ahead = []
        for retry in self.retry_later.values():
            is_due = retry.not_before <= now
            if not is_due:
                ahead.append(retry.not_before)
        return min(ahead, default=None)

    def with_failure(self, name: str, why: str, now: float, policy: RetryPolicy, invocation: str = "") -> "Backoff":
        """Take note that what `name` stands for failed at `now`, in this sentence.

        Every call counts as one more failure in a row, but for one with the `invocation` that was noted last.
        """
        former = self.retry_later.get(name)
        if invocation and former is not None and former.invocation == invocation:
            return self
        retry = policy.after_failure(former, why, now, invocation)
        return Backoff({**self.retry_later, name: retry})

    def without(self, names: Collection[str]) -> "Backoff":
        """Forget the failures of these names, so that they may be tried at once.

        Names of which nothing is remembered are passed over.
        """
        left = {name: retry for name, retry in self.retry_later.items() if name not in names}
        return Backoff(left)

    def note_units(self, seen: Observed, now: float, policy: RetryPolicy) -> "Backoff":
        """Take note of the units that failed since the last call, and forget those that work or are gone.

        A start that failed counts once, however often it is seen. A unit that is being started again, or that was
        stopped, keeps what is remembered of it until it is active: only that ends the failures in a row.
        """
        # systemd unloads a unit that was stopped; what is remembered of it stays as long as its file does.
        retry_later = {}
        for name, retry in self.retry_later.items():
            is_unloaded = name not in seen.units
            if is_unloaded and name in seen.files:
                retry_later[name] = retry
        for name, unit in seen.units.items():
            former = self.retry_later.get(name)
            latest = _retry_of(unit, former, now, policy)
            if latest is not None:
                retry_later[name] = latest
        return Backoff(retry_later)


def _retry_of(unit: Unit, former: Retry | None, now: float, policy: RetryPolicy) -> Retry | None:
    """Return what to remember of a unit that systemd has loaded; None when nothing of it failed, or it works again."""
    if unit.has_failed:
        is_known = former is not None and former.invocation == unit.invocation
        if is_known:
            return former
        return policy.after_failure(former, why_failed(unit), now, unit.invocation)
    if unit.active == "active":
        return None
    # Neither failed nor active: it is under way, or stopped. What comes of it decides.
    return former
