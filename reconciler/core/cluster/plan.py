"""The plan for a namespace: the actions for all its deployments in order, and how each of them stands."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from reconciler.core.cluster import labels
from reconciler.core.cluster.actions import Apply, Delete
from reconciler.core.cluster.decide import decide
from reconciler.core.cluster.inputs import ClusterInputs
from reconciler.core.cluster.observed import ClusterObserved, DeploymentObjects
from reconciler.core.cluster.view import ClusterDeployment
from reconciler.core.operators.context import DeploymentSummary, RequestContext
from reconciler.core.planner import ledger_updates as note
from reconciler.core.planner.guard import DesiredReleases, Live, agreement, waiting
from reconciler.core.planner.unit_actions import Action
from reconciler.core.state.ledger import Agreed, Ledger
from reconciler.core.state.plan_document import DeploymentChange, ShownAction, ShownPlan, Sign, UnitChange, Waiting
from reconciler.core.state.reason import Reason
from reconciler.core.state.release import Release
from reconciler.core.state.status import Outlook, State
from reconciler.core.units.names import ReleaseId

_AT_REST = (State.SERVING, State.IDLE)


@dataclass(frozen=True)
class ClusterPlan:
    """Ordered actions, and the status of each deployment."""

    actions: tuple[Action, ...] = ()
    outlooks: tuple[Outlook, ...] = ()
    serving: Mapping[str, ReleaseId | None] = field(default_factory=dict)
    deadline: float | None = None
    """When, on the monotonic clock, to plan again although nothing happened."""


def plan(desired: DesiredReleases, seen: ClusterObserved, inputs: ClusterInputs) -> ClusterPlan:
    """Decide what to do next; when the namespace is as it should be, the plan has no actions."""
    live = live_in_cluster(seen, inputs.ledger)
    waits = waiting(desired, live, inputs)
    agreed = agreement(desired, live, inputs)
    actions: list[Action] = [note.Agree("", "", agreed)] if agreed else []
    confirmed = sorted(inputs.ledger.prune_confirmed & set(desired))
    actions += [note.WithdrawConfirmation(name, "") for name in confirmed]
    outlooks, serving = [], {}
    free = inputs.parallel_steps - sum(map(_running_jobs, seen.deployments.values()))
    for name in sorted({*seen.deployments, *desired, *_half_forgotten(inputs)}):
        one = ClusterDeployment(name, seen.of(name), inputs)
        outlook = decide(one, desired.get(name), waits.get(name))
        serving[name] = one.serving
        own = [] if name in inputs.paused else one.actions
        jobs = [action for action in own if isinstance(action, Apply) and action.unit.startswith("Job/")]
        if jobs and free <= 0:
            own = [action for action in own if action not in jobs]
            why = f"it waits for its turn: {inputs.parallel_steps} Jobs run at once (reconcile.parallel_steps)"
            outlook = outlook.model_copy(update={"reason": Reason.WAITING, "message": why})
        free -= len(jobs)
        actions += own
        is_gone = outlook.state is State.REMOVING and not seen.of(name).objects and not seen.of(name).pods
        if not is_gone:
            outlooks.append(outlook)
    return ClusterPlan(tuple(actions), tuple(outlooks), serving, _deadline(seen, inputs))


def without_snapshot(seen: ClusterObserved, inputs: ClusterInputs) -> ClusterPlan:
    """Return a plan without actions that shows what is there: nobody knows what the registry selects."""
    why = "no snapshot of the registry was ever accepted, so nothing is changed"
    found = [ClusterDeployment(name, seen.of(name), inputs) for name in sorted(seen.deployments)]
    outlooks = [
        one.outlook(State.SERVING if one.serving else State.PENDING, None, Reason.NO_SNAPSHOT, why) for one in found
    ]
    return ClusterPlan((), tuple(outlooks), {one.name: one.serving for one in found})


def live_in_cluster(seen: ClusterObserved, ledger: Ledger) -> dict[str, Live]:
    """Return the deployments that have servers, or are to have them: somebody else may have removed those.

    Where a removal has begun, there is neither a Deployment nor what the good release was rendered from.
    """
    live = {}
    for name, one in seen.deployments.items():
        good = ledger.record(name).good
        if one.workload is not None:
            release, source = one.release, one.workload.metadata.annotations.get(labels.SOURCE)
            live[name] = Live(release.version if release else None, source)
        elif good is not None and good in one.kept:
            kept = one.kept[good].get("source")
            live[name] = Live(good.version, kept if isinstance(kept, str) else None)
    return live


def request_context(desired: DesiredReleases, seen: ClusterObserved, inputs: ClusterInputs) -> RequestContext:
    """Return what has to be known to carry out a request of an operator."""
    waits = waiting(desired, live_in_cluster(seen, inputs.ledger), inputs)
    summaries = {}
    for name in {*seen.deployments, *desired}:
        one, wanted, wait = ClusterDeployment(name, seen.of(name), inputs), desired.get(name), waits.get(name)
        release = wanted if isinstance(wanted, Release) else None
        summaries[name] = DeploymentSummary(
            releases=tuple(one.seen.kept),
            active=one.seen.release,
            desired=release.id if release else None,
            desired_asked=release.asked if release else "",
            selected=wanted is not None,
            held=wait is not None and wait.removal,
            waits=wait is not None and not wait.removal,
            asked={kept: str(values.get("asked", "")) for kept, values in one.seen.kept.items()},
        )
    agreed = Agreed(source=inputs.source, rules=inputs.rules) if inputs.source else None
    return RequestContext(agreed, summaries)


def show(decided: ClusterPlan, seen: ClusterObserved, desired: DesiredReleases) -> ShownPlan:
    """Return a plan as people and programs are shown it."""
    own: dict[str, list[Action]] = {}
    for action in decided.actions:
        own.setdefault(action.deployment, []).append(action)
    shown, waits = [], []
    for outlook in decided.outlooks:
        name = outlook.name
        if name in own:
            release = desired.get(name)
            shown.append(
                DeploymentChange(
                    name=name,
                    active_version=outlook.active_version,
                    desired_version=outlook.desired_version,
                    state=outlook.state,
                    source=release.source[:2000] if isinstance(release, Release) else "",
                    changes=tuple(_change(action, seen.of(name)) for action in own[name]),
                )
            )
        elif outlook.state not in _AT_REST:
            waits.append(Waiting(name=name, state=outlook.state, reason=outlook.reason, message=outlook.message))
    told = {outlook.name for outlook in decided.outlooks}
    shared = [action for name, actions in own.items() if name not in told for action in actions]
    return ShownPlan(
        schema=1,
        actions=tuple(
            ShownAction(do=action.verb, unit=action.unit, deployment=action.deployment) for action in decided.actions
        ),
        deployments=tuple(shown),
        shared=tuple(_change(action, DeploymentObjects("")) for action in shared),
        waits=tuple(waits),
    )


def _change(action: Action, seen: DeploymentObjects) -> UnitChange:
    sign: Sign = "~"
    if isinstance(action, Delete):
        sign = "-"
    elif isinstance(action, Apply) and action.unit not in seen.objects:
        sign = "+"
    is_object = isinstance(action, Apply | Delete)
    return UnitChange(sign=sign, unit=action.unit if is_object else "", what=action.verb if is_object else str(action))


def _running_jobs(one: DeploymentObjects) -> int:
    return sum(1 for job in one.preparations.values() if not job.is_done and not job.has_failed)


def _half_forgotten(inputs: ClusterInputs) -> Iterable[str]:
    """Name the deployments of which only the ledger knows something that goes with them."""
    records = inputs.ledger.records.items()
    return [name for name, record in records if record != record.forget_deployment()]


def _deadline(seen: ClusterObserved, inputs: ClusterInputs) -> float | None:
    """Return when the files of the next deployment may be removed."""
    ends = [
        since + inputs.retention.removal_grace for name, since in inputs.unselected.items() if name in seen.deployments
    ]
    return min((end for end in ends if end > inputs.now), default=None)
