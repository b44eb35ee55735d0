"""What the reconciler remembers from pass to pass; all of it may be lost, at the price of an early retry."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from reconciler.core.state.backoff import Backoff, RetryPolicy
from reconciler.core.units import names
from reconciler.core.units.observed import Observed, Unit

TRIED_PORTS = 8
"""How many ports a socket tries before its failure is taken for another one."""
PORT_IS_BUSY_FOR = 600.0
"""Seconds."""


@dataclass(frozen=True)
class Memory:
    """What was taken note of in former passes. It never changes: each `note_…` and `forget_…` returns a new one.

    All times are seconds on the monotonic clock.
    """

    backoff: Backoff = field(default_factory=Backoff)
    """Units that failed."""
    pauses: Backoff = field(default_factory=Backoff)
    """Actions that failed: by deployment, or by unit for what deployments share."""
    busy_ports: Mapping[int, float] = field(default_factory=dict)
    """Ports that somebody else holds, and until when they are left alone."""
    reload_due: bool = True
    """Nobody knows what happened before the first pass."""
    unselected: Mapping[str, float] = field(default_factory=dict)
    """Since when deployments are known not to be selected."""
    mended: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """When something of a deployment was mended, the latest last."""

    # What the planner and the loop ask.

    def paused(self, now: float) -> dict[str, str]:
        """Return the deployments and shared units whose turn has not come again, each with the reason.

        A pause concerns only the actions of the deployment; its units are held back one by one in `backoff`.
        """
        return self.pauses.waiting(now)

    def next_deadline(self, now: float) -> float | None:
        """Return when the next retry is due, of a unit or of an action; None when nothing waits for one."""
        of_units = self.backoff.next_deadline(now)
        of_actions = self.pauses.next_deadline(now)
        if of_units is None:
            return of_actions
        if of_actions is None:
            return of_units
        return min(of_units, of_actions)

    def exhausted(self, budget: int, now: float, window: float) -> frozenset[str]:
        """Return the deployments that were mended `budget` times or more within the last `window` seconds.

        Something undoes every repair of them, so that another one would help as little.
        """
        exhausted = set()
        for name, times in self.mended.items():
            count = len(_within(times, now, window))
            is_used_up = count >= budget
            if is_used_up:
                exhausted.add(name)
        return frozenset(exhausted)

    # What a pass takes note of.

    def note_failures(self, seen: Observed, now: float, policy: RetryPolicy) -> "Memory":
        """Take note of the units that failed, and of the ports that systemd could not bind.

        Called once a pass, before anything is decided.
        """
        backoff = self.backoff.note_units(seen, now, policy)
        # With the failures of this pass: the last of too many tries must not mark one more port.
        busy_ports = _busy_ports(seen, self.busy_ports, backoff, now)
        return replace(self, backoff=backoff, busy_ports=busy_ports)

    def note_failed_job(self, name: str, uid: str, why: str, now: float, policy: RetryPolicy) -> "Memory":
        """Take note that a Job of a cluster failed. The same Job counts once, however often it is seen."""
        return replace(self, backoff=self.backoff.with_failure(name, why, now, policy, uid))

    def note_failed_action(self, name: str, why: str, now: float, policy: RetryPolicy) -> "Memory":
        """Take note that an action of a deployment, or on a shared unit, failed: its turn comes again later."""
        return replace(self, pauses=self.pauses.with_failure(name, why, now, policy))

    def note_selection(self, present: Collection[str], selected: Collection[str], now: float) -> "Memory":
        """Take note of what is present on this host and not selected.

        What was not selected before keeps its time; what is selected again, or is gone from this host, loses it.
        """
        unselected = {}
        for name in present:
            if name in selected:
                continue
            since = self.unselected.get(name, now)
            unselected[name] = since
        return replace(self, unselected=unselected)

    def note_mended(self, mended: Collection[str], now: float, window: float) -> "Memory":
        """Take note of the deployments that were mended, and forget what was mended more than `window` seconds ago.

        Several repairs of one deployment in one pass count as one.
        """
        times = dict(self.mended)
        for name in mended:
            former = times.get(name, ())
            times[name] = (*former, now)
        # Of all deployments, not only those mended now: else what is gone would be remembered for ever.
        recent = {}
        for name, all_times in times.items():
            times_within = _within(all_times, now, window)
            if times_within:
                recent[name] = times_within
        return replace(self, mended=recent)

    # What is forgotten.

    def forgive(self, name: str, shared: Collection[str] = ()) -> "Memory":
        """Let everything of a deployment be tried at once, and the units that it shares with others.

        Its budget of repairs is whole again.
        """
        of_deployment = [unit for unit in self.backoff.retry_later if names.deployment_of(unit) == name]
        mended = dict(self.mended)
        mended.pop(name, None)
        return replace(
            self,
            backoff=self.backoff.without({*of_deployment, *shared}),
            pauses=self.pauses.without({name, *shared}),
            mended=mended,
        )

    def forget_pause(self, name: str) -> "Memory":
        """Take note that the actions of a deployment, or on a shared unit, worked: the next failure is a first one."""
        return replace(self, pauses=self.pauses.without({name}))

    def without_reload(self) -> "Memory":
        """For looking only: whether systemd has read its files is not seen from outside the daemon."""
        return replace(self, reload_due=False)


def _within(times: Collection[float], now: float, window: float) -> tuple[float, ...]:
    """Pick the times that lie less than `window` seconds back, in their order."""
    begin = now - window
    return tuple(time for time in times if time > begin)


def _busy_ports(seen: Observed, known: Mapping[int, float], backoff: Backoff, now: float) -> dict[int, float]:
    """Find the ports that systemd could not bind, and until when each is left alone; `known` are those found before.

    It is the only way to find them: a host's other listeners cannot be seen from inside the reconciler's sandbox. A
    port that is known keeps its time: its socket fails on until it gets another port.
    """
    busy = {port: until for port, until in known.items() if until > now}
    for unit, file in seen.files.items():
        is_socket = names.parse_socket(unit) is not None
        port = file.facts.port
        # A socket that somebody edited may have no port.
        if not is_socket or port is None or port in busy:
            continue
        has_tried_enough = _has_tried_enough_ports(unit, backoff)
        if _could_not_bind(seen.unit(unit)) and not has_tried_enough:
            busy[port] = now + PORT_IS_BUSY_FOR
    return busy


def _has_tried_enough_ports(socket: str, backoff: Backoff) -> bool:
    """Whether a socket has failed so often in a row, whatever its port, that it must have another trouble."""
    retry = backoff.retry_later.get(socket)
    if retry is None:
        return False
    return retry.count > TRIED_PORTS


def _could_not_bind(socket: Unit) -> bool:
    """Whether systemd gave up a socket for want of what it needs.

    systemd says `resources` also of other shortages; they are rare, and another port does no harm then.
    """
    has_failed = socket.active == "failed"
    return has_failed and socket.result == "resources"
