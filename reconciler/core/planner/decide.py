"""Which case a deployment is in, by what the registry selects for it and by what is there; and the plan for that case.

The case is named first, and asking for it changes nothing. Then it is planned.
"""

from dataclasses import dataclass

from reconciler.core.planner import reused_version
from reconciler.core.planner.cleanup import stop_unneeded
from reconciler.core.planner.compose_values import runs_in_containers
from reconciler.core.planner.deployment_plan import DeploymentPlan
from reconciler.core.planner.deployment_view import DeploymentView
from reconciler.core.planner.fall_back import fall_back, stay
from reconciler.core.planner.guard import Wait
from reconciler.core.planner.host_settings import go_on_with_former_settings, of_former_settings
from reconciler.core.planner.removal import is_ended, keep_out_of_service, remove_deployment
from reconciler.core.planner.rollout import advance
from reconciler.core.planner.target import of_release
from reconciler.core.state.ledger import Rejected, Replacement
from reconciler.core.state.reason import Reason
from reconciler.core.state.release import Refused, Release
from reconciler.core.state.status import Outlook, State
from reconciler.core.units import names
from reconciler.core.units.names import ReleaseId


@dataclass(frozen=True)
class UnitNotOurs:
    """Somebody else's unit has a name that the release needs. It is never touched."""

    unit: str


@dataclass(frozen=True)
class ReplacesFiles:
    """An operator said that the release takes the place of another model's files, which have its number."""

    said: Replacement


@dataclass(frozen=True)
class NumberTaken:
    """Another model's files have the release's number, and still serve."""


@dataclass(frozen=True)
class RejectedBefore:
    """The release failed here, or an operator rolled it back."""

    rejected: Rejected


@dataclass(frozen=True)
class FormerSettings:
    """The release serves already, under the settings that this host had when it was rolled out."""

    active: ReleaseId


@dataclass(frozen=True)
class ToRollOut:
    """Nothing is in the way of the release. It may also serve already."""


Case = UnitNotOurs | ReplacesFiles | NumberTaken | RejectedBefore | FormerSettings | ToRollOut
"""What stands between a desired release and its rollout."""


def decide(deployment: DeploymentPlan, desired: Release | Refused | None, wait: Wait | None) -> Outlook:
    """Plan one deployment, with no regard to suspensions and budgets, and return its status.

    The guard comes first: while it waits for an operator, it does not matter what the registry selects.
    """
    if wait is not None:
        return _hold(deployment, desired, wait)
    match desired:
        case None:
            return remove_deployment(deployment)
        case Refused():
            return _plan_refused(deployment, desired)
        case Release():
            return _plan_release(deployment, desired)


def case_of(deployment: DeploymentView, release: Release) -> Case:
    """Return the case that a desired release is in: the first that applies, in the order of `Case`.

    Asking changes nothing, and `ToRollOut` is the only case in which the release may come into service.
    """
    # The other cases could overwrite or stop somebody else's unit.
    foreign = _foreign_unit(deployment, release)
    if foreign is not None:
        return UnitNotOurs(foreign)
    # What an operator said wins over the reasons why the release would be refused otherwise.
    said = reused_version.replacement(deployment, release)
    if said is not None:
        return ReplacesFiles(said)
    if reused_version.is_taken(deployment, release):
        return NumberTaken()
    rejected = _rejection(deployment, release)
    if rejected is not None:
        return RejectedBefore(rejected)
    # Last, because it is no reason to refuse the release: it only keeps one that serves as it is.
    active = of_former_settings(deployment, release)
    return FormerSettings(active) if active is not None else ToRollOut()


def _plan_release(deployment: DeploymentPlan, release: Release) -> Outlook:
    """Plan a deployment for which the registry selects a release that this host accepts.

    Only a release in the last case is brought into service. In every other case the status says what stands between.
    """
    version = release.version
    match case_of(deployment, release):
        case UnitNotOurs(unit):
            why = f"cannot use the unit name {unit}: somebody else's unit has it; move that unit away"
            return deployment.blocked(version, Reason.UNIT_NOT_OURS, why)
        case ReplacesFiles(said):
            return reused_version.replace(deployment, release, said)
        case NumberTaken():
            why = reused_version.why_taken(release)
            return fall_back(deployment, version, None, Reason.NUMBER_USED_AGAIN, why)
        case RejectedBefore(rejected):
            return fall_back(deployment, version, release.id, Reason(rejected.reason), rejected.message)
        case FormerSettings(active):
            return go_on_with_former_settings(deployment, release, active)
        case ToRollOut():
            # Also each pass in which the release serves already: then only drift is repaired.
            target = of_release(release)
            outlook = advance(deployment, target)
            stop_unneeded(deployment, target)
            return outlook


def _plan_refused(deployment: DeploymentPlan, refused: Refused) -> Outlook:
    """Plan a deployment for which the registry selects a version that this host does not accept.

    The policy may exclude the model from this host altogether. If nothing of it is here, there is nothing to plan.
    """
    # Without files there is nothing to go back to either.
    is_no_deployment = refused.reason is Reason.NOT_ALLOWED and not deployment.files()
    if is_no_deployment:
        return deployment.outlook(State.NOT_DEPLOYABLE, refused.version, refused.reason, refused.why)
    if is_ended(deployment):
        keep_out_of_service(deployment)
        return deployment.blocked(refused.version, refused.reason, refused.why)
    return fall_back(deployment, refused.version, None, refused.reason, refused.why)


def _hold(deployment: DeploymentPlan, desired: Release | Refused | None, wait: Wait) -> Outlook:
    """Plan that a deployment stays as it is until an operator, or another host, lets its removal or replacement begin.

    The status says what the deployment waits for, unless its release should serve and does not: that is more urgent.
    """
    if is_ended(deployment):
        keep_out_of_service(deployment)
    else:
        outlook = stay(deployment)
        if outlook is not None:
            return outlook
    version = desired.version if desired is not None else None
    return deployment.outlook(wait.state, version, wait.reason, wait.why)


def _foreign_unit(deployment: DeploymentView, release: Release) -> str | None:
    """Return a unit of somebody else that has a name which the release needs; None when there is none.

    The build of its environment is not among them: which it is, only the fetch will tell. `prepare` looks then.
    """
    fetch = names.fetch_unit(release.name, release.version)
    verify = names.verify_unit(release.name, release.version)
    servers = of_release(release).units(release.name)
    needed = [fetch, verify, *servers, deployment.socket, names.slice_unit(release.name)]
    if runs_in_containers(release):
        needed.append(names.compose_unit(release.name))
    return next((unit for unit in needed if unit in deployment.seen.foreign), None)


def _rejection(deployment: DeploymentView, release: Release) -> Rejected | None:
    """Return why the desired release is not tried; None when it may be.

    A release that failed with other settings of this host may be tried while nothing else serves: it cannot get worse.
    """
    rejected = deployment.record.rejection(release.id)
    if rejected is not None:
        return rejected
    # `asked` is what the registry and operators want of it, without this host's settings.
    another_serves = deployment.serving_release not in (None, release.id)
    if not another_serves:
        return None
    return deployment.record.rejection_of(release.version, release.asked)
