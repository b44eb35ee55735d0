"""The planner: from the desired releases and the observed units to an ordered list of actions.

It decides and does not act: it reads no file, asks no clock, and changes none of its arguments.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from reconciler.core.planner import actions as act
from reconciler.core.planner import reused_version, start_limit, step_limit
from reconciler.core.planner.actions import Action
from reconciler.core.planner.bridge import tell_of_bridge
from reconciler.core.planner.confirmation import unconfirmed, wait_for, withdrawn
from reconciler.core.planner.deployment_plan import DeploymentPlan
from reconciler.core.planner.environments import unused_environments
from reconciler.core.planner.flooding import kills
from reconciler.core.planner.guard import DesiredReleases, agreement, live_on_host, waiting
from reconciler.core.planner.inputs import PlannerInputs
from reconciler.core.planner.pins import lost, pins
from reconciler.core.planner.plan_deployment import plan_deployment
from reconciler.core.planner.waves import other_hosts_first
from reconciler.core.state.reason import Reason
from reconciler.core.state.release import Release
from reconciler.core.state.status import Outlook, State
from reconciler.core.units.names import ReleaseId
from reconciler.core.units.observed import Observed


@dataclass(frozen=True)
class Plan:
    """Ordered actions, and the status of each deployment."""

    actions: tuple[Action, ...]
    outlooks: tuple[Outlook, ...]
    repairs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By deployment of which drift is repaired, what is done to which unit, in the past tense."""
    deadline: float | None = None
    """When, on the monotonic clock, to plan again although nothing happened."""
    serving: Mapping[str, ReleaseId | None] = field(default_factory=dict)
    """By deployment, the release that answers requests, or would start to at the next one; None where none does."""


@dataclass
class _Collected:
    """What is planned for the whole host, collected from its deployments in the order of their names."""

    signals: list[act.Signal]
    before: list[Action]
    after: list[Action] = field(default_factory=list)
    shared: dict[str, act.Render] = field(default_factory=dict)
    outlooks: list[Outlook] = field(default_factory=list)
    repairs: dict[str, tuple[str, ...]] = field(default_factory=dict)
    deadlines: list[float] = field(default_factory=list)
    serving: dict[str, ReleaseId | None] = field(default_factory=dict)

    def add(self, deployment: DeploymentPlan, outlook: Outlook, *, is_paused: bool) -> None:
        """Add what is planned for one deployment.

        A paused one waits for its next turn, because an action failed: of its actions, only those that safety demands
        are done now. What it would render is not rendered, so other deployments must not count on that.
        """
        self.outlooks.append(outlook)
        self.serving[deployment.name] = deployment.serving_release
        self.signals += deployment.signals
        self.deadlines += deployment.deadlines
        if is_paused:
            self.before += _only_safety(deployment.before)
            return
        # Of a deployment that is left alone, the actions were dropped: nothing of `shared` will be rendered.
        has_actions = bool(deployment.before or deployment.after)
        if has_actions:
            self.shared |= deployment.shared
        self.before += deployment.before
        self.after += deployment.after
        if deployment.repairs:
            self.repairs[deployment.name] = tuple(deployment.repairs)


def plan(desired: DesiredReleases, seen: Observed, inputs: PlannerInputs) -> Plan:
    """Decide what to do next.

    `desired` has a release, or the reason why there is none, for each model that the registry selects. Once the
    actions are done, the next pass asks again. When the host is as it should be, the plan has no actions.
    """
    collected = _collect(desired, seen, inputs)
    # Only so many steps run at once, and only so many servers load. The others are planned again in each pass until it
    # is their turn.
    late = step_limit.late(collected.after, seen, inputs)
    late_servers = start_limit.late(collected.after, seen, inputs)
    after, outlooks = collected.after, collected.outlooks
    if late or late_servers:
        after = step_limit.without({*late, *late_servers}, after)
        outlooks = step_limit.told(late, outlooks, inputs.parallel_steps)
        outlooks = start_limit.told(late_servers, outlooks, inputs.parallel_starts)
    # What waits for its turn is needed as well: its environment must not be removed meanwhile.
    starting = {action.unit for action in after} | set(late)
    before = collected.before + _unpaused(unused_environments(desired, seen, starting), inputs)
    actions = _in_order(collected.signals, before, after, reload_due=inputs.reload_due)
    deadline = min(collected.deadlines, default=None)
    # What is not started yet is not repaired yet.
    waiting = set(late_servers.values())
    repairs = {name: done for name, done in collected.repairs.items() if name not in waiting}
    return Plan(actions, tuple(outlooks), repairs, deadline, collected.serving)


def without_snapshot(seen: Observed, inputs: PlannerInputs) -> Plan:
    """Return a plan without actions that shows what is there.

    Without a snapshot nobody knows what the registry selects. That is not the same as a registry that selects nothing.
    """
    why = "no snapshot of the registry was ever accepted, so nothing is changed"
    outlooks = []
    serving = {}
    for name in sorted(seen.by_deployment):
        deployment = DeploymentPlan(name, seen, inputs, {})
        serving[name] = deployment.serving_release
        state = State.SERVING if deployment.serving_release else State.PENDING
        outlooks.append(deployment.outlook(state, None, Reason.NO_SNAPSHOT, why))
    return Plan((), tuple(outlooks), serving=serving)


def _collect(desired: DesiredReleases, seen: Observed, inputs: PlannerInputs) -> _Collected:
    """Plan the deployments one after the other; each sees which units those before it render already.

    All that is on the host or desired is planned: a deployment that is not desired any more is removed.
    """
    notes = _unpaused(_notes(desired, seen, inputs), inputs)
    collected = _Collected(signals=[*kills(seen, inputs.ledger)], before=notes)
    waits = waiting(desired, live_on_host(seen), inputs)
    if inputs.confirm:
        # The guard's reasons come first: each asks for a yes of its own.
        for name, change in unconfirmed(desired, seen, inputs).items():
            waits.setdefault(name, wait_for(change))
    for name, wait in other_hosts_first(desired, seen, inputs).items():
        waits.setdefault(name, wait)
    for name in sorted({*seen.by_deployment, *desired}):
        # A copy: what this deployment plans counts for the next ones only if it is kept.
        deployment = DeploymentPlan(name, seen, inputs, dict(collected.shared))
        wanted = desired.get(name)
        outlook = plan_deployment(deployment, wanted, waits.get(name))
        outlook = tell_of_bridge(deployment, wanted if isinstance(wanted, Release) else None, outlook)
        collected.add(deployment, outlook, is_paused=name in inputs.paused)
    return collected


def _notes(desired: DesiredReleases, seen: Observed, inputs: PlannerInputs) -> Iterator[Action]:
    """Yield the changes of the ledger that belong to no deployment's own plan, and the digests that units lost.

    They come before all deployments: what a step reported is recorded before anything that is compared with it starts.
    """
    ledger = inputs.ledger
    agreed = agreement(desired, live_on_host(seen), inputs)
    # From now on this host goes by this registry, these selectors and these rules: nothing waits because of them.
    if agreed:
        yield act.Agree("", "", agreed)
    yield from lost(seen, ledger)
    yield from pins(seen, ledger)
    yield from reused_version.out_of_date(desired, ledger)
    for name in sorted(ledger.prune_confirmed & set(desired)):
        yield act.WithdrawConfirmation(name, "")
    yield from withdrawn(desired, seen, inputs)
    yield from _forget_what_is_gone(desired, seen, inputs)


def _forget_what_is_gone(desired: DesiredReleases, seen: Observed, inputs: PlannerInputs) -> Iterator[Action]:
    """Yield once more the notes of removals that the disk did not take before the reconciler ended.

    The files of these deployments are gone already, so that nothing else would ever bring the note back.
    """
    known = {*seen.by_deployment, *desired}
    for name in sorted(inputs.ledger.records.keys() - known):
        record = inputs.ledger.record(name)
        has_something_to_forget = record != record.forget_deployment()
        if has_something_to_forget:
            yield act.ForgetDeployment(name, "")


def _unpaused(actions: Iterable[Action], inputs: PlannerInputs) -> list[Action]:
    """Return the actions whose deployment, or whose shared unit, is not paused.

    What could not be written is tried again later, like all else; at once, it would be tried without end.
    """
    return [action for action in actions if (action.deployment or action.unit) not in inputs.paused]


def _only_safety(actions: Iterable[Action]) -> list[Action]:
    """Return the actions that need neither a disk nor luck: they are done whatever else failed."""
    return [action for action in actions if isinstance(action, act.SAFETY)]


def _in_order(
    signals: Iterable[act.Signal], before: list[Action], after: list[Action], *, reload_due: bool
) -> tuple[Action, ...]:
    """Return all actions of a pass in the order in which they are done.

    Signals and rejections come first: they need nothing but systemd. Then files change and units stop, in the order in
    which that was planned; then systemd reads the files, once; then units start.
    """
    ordinary = [action for action in before if not isinstance(action, act.SAFETY)]
    # The reload is needed also when an earlier pass changed files and ended before its own reload.
    changes_files = any(isinstance(action, act.CHANGES_FILES) for action in before)
    reload = [act.Reload("", "")] if changes_files or reload_due else []
    return (*act.in_order(signals), *_only_safety(before), *ordinary, *reload, *after)
