"""The planner: from what is wanted and what is observed to an ordered list of actions and a word on each deployment."""

from dataclasses import dataclass

from reconciler.core.planner import actions as act
from reconciler.core.planner import reused_version, step_limit
from reconciler.core.planner.actions import Action
from reconciler.core.planner.cleanup import stop_unneeded
from reconciler.core.planner.deployment_plan import DeploymentPlan, clean
from reconciler.core.planner.flooding import kills
from reconciler.core.planner.guard import DesiredReleases, Wait, agreement, waiting
from reconciler.core.planner.host_settings import CHANGED, of_former_settings
from reconciler.core.planner.inputs import PlannerInputs
from reconciler.core.planner.overdue import end_what_is_overdue
from reconciler.core.planner.pins import lost, pins
from reconciler.core.planner.removal import remove_deployment
from reconciler.core.planner.rollout import advance
from reconciler.core.planner.target import as_it_is, fallback, of_release
from reconciler.core.state.ledger import Rejected
from reconciler.core.state.reason import Reason
from reconciler.core.state.release import Refused, Release
from reconciler.core.state.status import Outlook, State
from reconciler.core.units import names
from reconciler.core.units.names import ReleaseId
from reconciler.core.units.observed import Observed


@dataclass(frozen=True)
class Plan:
    """Ordered actions, and what to tell about each deployment."""

    actions: tuple[Action, ...]
    outlooks: tuple[Outlook, ...]
    mended: frozenset[str] = frozenset()
    """Deployments of which something is mended that nobody asked the registry for."""
    deadline: float | None = None
    """When, on the monotonic clock, to plan again although nothing happened."""


def plan(desired: DesiredReleases, seen: Observed, inputs: PlannerInputs) -> Plan:
    """Decide what to do next. Computing it touches nothing; doing it and asking again converges to no actions."""
    shared: dict[str, act.Render] = {}
    signals: list[act.Signal] = [*kills(seen, inputs.ledger)]
    before: list[Action] = []
    after: list[Action] = []
    outlooks, mended, deadlines = [], set(), []
    waits = waiting(desired, seen, inputs)
    if agreed := agreement(desired, seen, inputs):
        before.append(act.Agree("", "", agreed))
    before += lost(seen, inputs.ledger) + pins(seen, inputs.ledger)
    before += reused_version.out_of_date(desired, inputs.ledger)
    before += [act.WithdrawConfirmation(name, "") for name in sorted(inputs.ledger.prune_confirmed & set(desired))]
    before += _forget_what_is_gone(desired, seen, inputs)
    # What could not be written is tried again later, like all else; at once, it would be tried without end.
    before = [one for one in before if (one.deployment or one.unit) not in inputs.paused]
    for name in sorted({*seen.by_deployment, *desired}):
        deployment = DeploymentPlan(name, seen, inputs, dict(shared))
        outlooks.append(_plan_one(deployment, desired.get(name), waits.get(name)))
        signals += deployment.signals
        deadlines += deployment.deadlines
        if name in inputs.paused:
            before += [one for one in deployment.before if isinstance(one, act.SAFETY)]
        else:
            shared |= deployment.shared if deployment.before or deployment.after else {}
            before += deployment.before
            after += deployment.after
            mended |= {name} if deployment.repairs else set()
    if late := step_limit.late(after, seen, inputs):
        after = step_limit.without(late, after)
        outlooks = step_limit.told(late, outlooks, inputs.parallel_steps)
    starting = {action.unit for action in after} | set(late)
    before += [action for action in _collect_environments(desired, seen, starting) if action.unit not in inputs.paused]
    changed = any(isinstance(action, act.CHANGES_FILES) for action in before)
    reload = [act.Reload("", "")] if changed or inputs.reload_due else []
    deadline = min(deadlines, default=None)
    urgent = [one for one in before if isinstance(one, act.SAFETY)]
    ordinary = [one for one in before if not isinstance(one, act.SAFETY)]
    actions = (*act.in_order(signals), *urgent, *ordinary, *reload, *after)
    return Plan(actions, tuple(outlooks), frozenset(mended), deadline)


def _forget_what_is_gone(desired: DesiredReleases, seen: Observed, inputs: PlannerInputs) -> list[Action]:
    """Take note once more of removals that the disk did not take note of before the reconciler ended."""
    gone = {
        name: record for name, record in inputs.ledger.records.items() if name not in {*seen.by_deployment, *desired}
    }
    return [
        act.ForgetDeployment(name, "") for name, record in sorted(gone.items()) if record != record.forget_deployment()
    ]


def _plan_one(deployment: DeploymentPlan, release: Release | Refused | None, wait: Wait | None) -> Outlook:
    """Plan one deployment, as far as no person and no budget says that it is to be left alone."""
    version = release.version if release else None
    outlook = _decide(deployment, release, wait)
    end_what_is_overdue(deployment)
    stalled = deployment.record.stalled
    if why := _left_alone(deployment):
        outlook = deployment.outlook(State.SUSPENDED, version, Reason.SUSPENDED, f"{why}{_drift(deployment)}")
    elif stalled is not None and stalled.release == _id(release) and (release is not None or wait is not None):
        outlook = deployment.outlook(State.STALLED, version, Reason.MENDED_TOO_OFTEN, stalled.message)
    elif deployment.repairs and deployment.name in deployment.inputs.exhausted:
        why = (
            f"cannot keep {deployment.name} as it should be: something undoes every repair (the last: "
            f"{deployment.repairs[0]}); find out what does, then reconciler retry {deployment.name}"
        )
        deployment.before, deployment.after = [act.StallDeployment(deployment.name, "", _id(release), why)], []
        return deployment.outlook(State.STALLED, version, Reason.MENDED_TOO_OFTEN, why)
    else:
        return outlook
    deployment.signals, deployment.before, deployment.after, deployment.repairs, deployment.deadlines = (
        [],
        [],
        [],
        [],
        [],
    )
    return outlook


def _id(release: Release | Refused | None) -> str:
    return release.id if isinstance(release, Release) else f"refused {release.version}" if release else ""


def _left_alone(deployment: DeploymentPlan) -> str | None:
    """Who said that nothing is to be done to the deployment."""
    if suspended := deployment.record.suspended:
        return suspended.sentence
    masked = [unit for unit in deployment.files() if deployment.seen.files[unit].masked]
    return f"suspended, because somebody masked {masked[0]}" if masked else None


def _drift(deployment: DeploymentPlan) -> str:
    """What is left undone."""
    undone = [
        str(action)
        for action in (*deployment.signals, *deployment.before, *deployment.after)
        if not isinstance(action, act.Note)
    ]
    if not undone:
        return ""
    more = f" and {len(undone) - 3} more" if len(undone) > 3 else ""
    return f"; left undone: {', '.join(undone[:3])}{more}"


def _decide(deployment: DeploymentPlan, release: Release | Refused | None, wait: Wait | None) -> Outlook:
    """Plan one deployment."""
    if wait is not None:
        outlook, reason = _keep(deployment, None), Reason.HELD if wait.removal else Reason.ANOTHER_SOURCE
        return outlook or deployment.outlook(State.HELD, release.version if release else None, reason, wait.why)
    if release is None:
        return remove_deployment(deployment)
    if isinstance(release, Refused):
        if release.reason is Reason.NOT_ALLOWED and not deployment.files():
            return deployment.outlook(State.NOT_DEPLOYABLE, release.version, release.reason, release.why)
        return _instead(deployment, release.version, None, release.reason, release.why)
    if foreign := [unit for unit in _units_of(deployment, release) if unit in deployment.seen.foreign]:
        why = f"cannot use the unit name {foreign[0]}: somebody else's unit has it; move that unit away"
        return deployment.blocked(release.version, Reason.UNIT_NOT_OURS, why)
    if outlook := reused_version.replace(deployment, release):
        return outlook
    if reused_version.is_taken(deployment, release):
        return _instead(deployment, release.version, None, Reason.NUMBER_USED_AGAIN, reused_version.why_taken(release))
    if rejected := _rejection(deployment, release):
        return _instead_of_rejected(deployment, release, rejected)
    if former := of_former_settings(deployment, release):
        return _as_it_runs(deployment, release, former)
    outlook = advance(deployment, of_release(release))
    stop_unneeded(deployment, of_release(release))
    return outlook


def _rejection(deployment: DeploymentPlan, release: Release) -> Rejected | None:
    """Why the wanted release is not tried: it failed here, or did so with other settings and something else serves."""
    if rejected := deployment.record.rejection(release.id):
        return rejected
    others = deployment.serving_release not in (None, release.id)
    return deployment.record.rejection_of(release.version, release.asked) if others else None


def _as_it_runs(deployment: DeploymentPlan, release: Release, active: ReleaseId) -> Outlook:
    """Go on with the release that serves, as it was rolled out; some of its servers may go, since a number says so."""
    target = as_it_is(deployment, active, release.rollout)
    outlook = advance(deployment, target)
    stop_unneeded(deployment, target)
    if outlook.state not in (State.SERVING, State.IDLE) or outlook.reason:
        return outlook
    why = CHANGED.format(name=deployment.name)
    return outlook.model_copy(update={"reason": Reason.SETTINGS_CHANGED, "message": why})


def _units_of(deployment: DeploymentPlan, release: Release) -> list[str]:
    steps = [names.fetch_unit(release.name, release.version), names.verify_unit(release.name, release.version)]
    return [*steps, *of_release(release).units(release.name), deployment.socket, names.slice_unit(release.name)]


def _keep(deployment: DeploymentPlan, unwanted: ReleaseId | None) -> Outlook | None:
    """Keep to what is not wanted by the registry any more; None when that serves."""
    target = fallback(deployment, unwanted)
    outlook = advance(deployment, target) if target else None
    stop_unneeded(deployment, target)
    serves = outlook is not None and (deployment.serving_release is not None or outlook.state is State.IDLE)
    return None if serves else outlook


def _instead_of_rejected(deployment: DeploymentPlan, release: Release, rejected: Rejected) -> Outlook:
    return _instead(deployment, release.version, release.id, Reason(rejected.reason), rejected.message)


def _instead(deployment: DeploymentPlan, version: int, release: ReleaseId | None, reason: Reason, why: str) -> Outlook:
    """Keep to another release than the wanted one, or to none, and say why."""
    target = fallback(deployment, release)
    if target is None:
        # A release that does not come up must not answer with silence.
        deployment.disable([deployment.socket])
        if not deployment.seen.unit(deployment.socket).is_down:
            deployment.stop(deployment.socket)
        for one in dict.fromkeys((release, deployment.active_release)):
            for unit in deployment.servers(one) if one else ():
                deployment.stop(unit)
        stop_unneeded(deployment, None)
        return deployment.blocked(version, reason, why)
    outlook = advance(deployment, target)
    stop_unneeded(deployment, target)
    if outlook.state is State.IDLE:
        return outlook.model_copy(update={"state": State.DEGRADED, "desired_version": str(version), "message": why})
    if deployment.serving_release == target.id:
        return deployment.outlook(State.DEGRADED, version, reason, why)
    if outlook.state in (State.FAILED, State.DEGRADED):
        return deployment.blocked(version, outlook.reason, f"{why}; and going back failed, too: {outlook.message}")
    return deployment.outlook(
        State.ROLLING_OUT, version, Reason.GOING_BACK, f"going back to version {target.version}: {why}"
    )


def without_snapshot(seen: Observed, inputs: PlannerInputs) -> Plan:
    """Decide nothing about anything, and tell what is there: no snapshot is not an empty one."""
    why = "no snapshot of the registry was ever accepted, so nothing is changed"
    deployments_ = [DeploymentPlan(name, seen, inputs, {}) for name in sorted(seen.by_deployment)]
    return Plan(
        (),
        tuple(
            deployment.outlook(
                State.SERVING if deployment.serving_release else State.PENDING, None, Reason.NO_SNAPSHOT, why
            )
            for deployment in deployments_
        ),
    )


def _collect_environments(desired: DesiredReleases, seen: Observed, starting: set[str]) -> list[Action]:
    """Have systemd remove the environments that no server names and no release is being prepared for."""
    used = {file.facts.environment for unit, file in seen.files.items() if names.parse_server(unit)}
    for release in desired.values():
        if isinstance(release, Release):
            used.add(seen.unit(names.fetch_unit(release.name, release.version)).environment)
    found: list[Action] = []
    for unit in sorted(seen.files):
        environment = names.parse_build(unit)
        if environment is None or unit in starting:
            continue
        if environment in used:
            found += [] if seen.files[unit].intact else [act.RestoreFile("", unit)]
            continue
        state = seen.unit(unit)
        if state.is_down:
            found += clean("", unit, seen.files[unit])
        elif not state.is_going_down:
            found.append(act.Stop("", unit))
    return found
