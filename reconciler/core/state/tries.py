"""How often a deployment was tried in vain, and when it is tried next, as people are told."""

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from reconciler.core.state.backoff import Backoff, Retry
from reconciler.core.state.ledger import Ledger
from reconciler.core.state.memory import Memory
from reconciler.core.state.status import Outlook, State
from reconciler.core.units import names
from reconciler.core.units.observed import Observed

_WAITS_FOR_A_PERSON = (State.HELD, State.STALLED, State.SUSPENDED, State.NOT_DEPLOYABLE)


class Tries(NamedTuple):
    """What failed of one deployment and has not worked since."""

    failures: int = 0
    """In a row."""
    not_before: float | None = None
    """When it is tried next, in seconds on the monotonic clock; None while it is tried, or where it is not again."""


def tries(outlooks: Iterable[Outlook], seen: Observed, memory: Memory, ledger: Ledger, now: float) -> dict[str, Tries]:
    """Return the tries of each deployment of which something failed; `now`: seconds on the monotonic clock.

    A deployment that waits for a person is not among them, nor is one whose version was rejected: it is not tried.
    """
    failed = memory.backoff.retry_later
    paused = memory.pauses.retry_later
    if not failed and not paused:
        return {}
    by_deployment = _by_deployment(memory.backoff)
    has_failed_builds = any(names.parse_build(unit) for unit in (*failed, *paused))
    found = {}
    for outlook in outlooks:
        if outlook.state in _WAITS_FOR_A_PERSON or _is_rejected(outlook, ledger):
            continue
        name = outlook.name
        # Deployments share the builds of their environments, and so the failures of these.
        builds = seen.builds_of(name) if has_failed_builds else set()
        shared = [kept[build] for build in builds for kept in (failed, paused) if build in kept]
        own = [*by_deployment.get(name, ()), *([paused[name]] if name in paused else [])]
        if own or shared:
            found[name] = _together([*own, *shared], now)
    return found


def _by_deployment(backoff: Backoff) -> dict[str, list[Retry]]:
    found: dict[str, list[Retry]] = defaultdict(list)
    for unit, retry in backoff.retry_later.items():
        name = names.deployment_of(unit)
        if name is not None:
            found[name].append(retry)
    return found


def _is_rejected(outlook: Outlook, ledger: Ledger) -> bool:
    rejected = ledger.record(outlook.name).rejected
    return any(str(one.release.version) == outlook.desired_version for one in rejected)


def _together(retries: list[Retry], now: float) -> Tries:
    """Count as the unit that failed most often does; the next try is the first that is to come."""
    failures = max(retry.count for retry in retries)
    ahead = [retry.not_before for retry in retries if retry.not_before > now]
    return Tries(failures, min(ahead, default=None))
