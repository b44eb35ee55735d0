"""One line and one number for a monitor, as Nagios and its kin read them."""

from collections import Counter
from collections.abc import Iterator
from enum import IntEnum

from reconciler.core.state.reason import FAILED, Reason
from reconciler.core.state.status import DeploymentStatus, State, Status
from reconciler.core.text.quote import one_line

MAX_LINE = 1000
"""Characters; monitors cut longer ones somewhere."""
_MAX_MESSAGE = 200


class Verdict(IntEnum):
    """The exit codes of a Nagios plugin."""

    OK = 0
    """All is well, or on its way: `serving`, `idle`, `preparing`, `rolling-out`, `removing`, `suspended`."""
    WARNING = 1
    """`degraded`, `held`, `not-deployable`, `pending`; a failing repair; the registry away; trouble of the host."""
    CRITICAL = 2
    """`failed` or `stalled`."""
    UNKNOWN = 3
    """There is no status, or no deployment of that name."""


UNKNOWN = Verdict.UNKNOWN


def verdict(document: Status, name: str = "") -> tuple[Verdict, str]:
    """Judge a status; the line begins with the most urgent fault and ends with the counts of all states.

    With a `name` that deployment alone is judged, and the host's own faults; one that is not there is `UNKNOWN`.

    Critical: a deployment serves nothing though it should, or nobody repairs it. A warning: the wanted version does
    not serve, somebody has to decide, or what is known may be out of date. A suspension was asked for, so it is no
    fault; nor is a first rollout in which nothing failed yet.
    """
    if name:
        document = document.model_copy(
            update={"deployments": tuple(one for one in document.deployments if one.name == name)}
        )
        if not document.deployments:
            return UNKNOWN, f"RECONCILER UNKNOWN: there is no deployment {one_line(name, 80)}"
    faults = sorted(_faults(document), key=lambda fault: -fault[0])
    worst = faults[0][0] if faults else Verdict.OK
    counts = Counter(one.state for one in document.deployments)
    what = "; ".join(text for _, text in faults) or _summary(counts)
    figures = " ".join(f"{state.value}={counts[state]}" for state in State)
    # The bar begins the figures: there must be no other one before it.
    return worst, f"RECONCILER {worst.name}: {one_line(what, MAX_LINE).replace('|', '/')} | {figures}"


def _summary(counts: Counter[State]) -> str:
    told = [f"{counts[state]} {state}" for state in State if counts[state]]
    return ", ".join(told) or "nothing is deployed"


def _faults(document: Status) -> Iterator[tuple[Verdict, str]]:
    for one in document.deployments:
        judged = _judge(one)
        if judged is not Verdict.OK:
            state = f"{one.name} is {one.state}"
            yield judged, f"{state}: {one_line(one.message, _MAX_MESSAGE)}" if one.message else state
    if document.trouble:
        yield Verdict.WARNING, document.trouble
    registry = document.registry
    if not registry.reachable:
        yield Verdict.WARNING, one_line(registry.why_not_reachable, _MAX_MESSAGE)
    elif registry.message:
        yield Verdict.WARNING, one_line(registry.message, _MAX_MESSAGE)


def _judge(one: DeploymentStatus) -> Verdict:
    serves_nothing = one.active_version is None
    match one.state:
        case State.FAILED | State.STALLED:
            return Verdict.CRITICAL
        case State.PENDING if one.reason is Reason.OTHER_HOSTS_FIRST:
            return Verdict.OK  # it was asked for, and what is wrong with the other hosts is theirs to tell
        case State.DEGRADED | State.HELD | State.NOT_DEPLOYABLE | State.PENDING:
            return Verdict.WARNING
        case State.PREPARING | State.ROLLING_OUT if one.tries:
            # It is being tried again: that it failed before is still so.
            return Verdict.CRITICAL if serves_nothing else Verdict.WARNING
        case State.REMOVING if one.tries:
            return Verdict.WARNING
        case State.SERVING | State.IDLE if one.reason in FAILED.values():
            return Verdict.WARNING
        case _:
            return Verdict.OK
