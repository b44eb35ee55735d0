"""The part of the plan for a deployment whose desired release is out of the question: another one serves instead.

That is the active release where it may serve, else the good one. Where there is neither, the address is closed.
"""

from reconciler.core.planner.cleanup import stop_unneeded
from reconciler.core.planner.deployment_plan import DeploymentPlan
from reconciler.core.planner.rollout import advance
from reconciler.core.planner.target import Target, fallback_target
from reconciler.core.state.reason import Reason
from reconciler.core.state.status import Outlook, State
from reconciler.core.units.names import ReleaseId


def stay(deployment: DeploymentPlan) -> Outlook | None:
    """Plan that a deployment goes on with the release that it has, whatever the registry selects.

    Return its status while a release should serve and none does: what is wrong with it. None while one serves or is
    idle, and when there is none to go on with.
    """
    target = fallback_target(deployment, None)
    if target is None:
        stop_unneeded(deployment, None)
        return None
    outlook = advance(deployment, target)
    stop_unneeded(deployment, target)
    # Whatever `advance` says of a release that serves, such as its soak, the caller has something more important.
    serves = deployment.serving_release is not None or outlook.state is State.IDLE
    return None if serves else outlook


def fall_back(
    deployment: DeploymentPlan, version: int, unwanted: ReleaseId | None, reason: Reason, why: str
) -> Outlook:
    """Plan that another release serves than the desired one, or none, and return the status, which says why.

    `target.fallback_target` chooses the other one, which is the target of the rollout from here on. `version` is the
    desired one. `unwanted` is the release that must not serve, None where the desired version has no release on this
    host. `reason` and `why` say what is wrong with it.
    """
    target = fallback_target(deployment, unwanted)
    if target is None:
        _close(deployment, unwanted)
        return deployment.blocked(version, reason, why)
    outlook = advance(deployment, target)
    stop_unneeded(deployment, target)
    # An idle release counts as one that serves, and the next request starts it.
    if outlook.state is State.IDLE:
        told = {"state": State.DEGRADED, "desired_version": str(version), "reason": reason, "message": why}
        return outlook.model_copy(update=told)
    if deployment.serving_release == target.id:
        return deployment.outlook(State.DEGRADED, version, reason, why)
    return _outlook_going_back(deployment, version, target, why, outlook)


def _outlook_going_back(
    deployment: DeploymentPlan, version: int, target: Target, why: str, outlook: Outlook
) -> Outlook:
    """Return the status until the target serves instead; `outlook` says how far the deployment has come."""
    if outlook.state in (State.FAILED, State.DEGRADED):
        return deployment.blocked(version, outlook.reason, f"{why}; and going back failed, too: {outlook.message}")
    message = f"going back to version {target.version}: {why}"
    return deployment.outlook(State.ROLLING_OUT, version, Reason.GOING_BACK, message)


def _close(deployment: DeploymentPlan, unwanted: ReleaseId | None) -> None:
    """Plan that the address is closed and nothing serves, now or after a boot.

    Clients are refused then. Behind an open address they would wait for a server that never comes.
    """
    deployment.disable([deployment.socket])
    # A failed socket stays failed: its failure is what the status tells.
    if not deployment.seen.unit(deployment.socket).is_down:
        deployment.stop(deployment.socket)
    for release in dict.fromkeys((unwanted, deployment.active_release)):
        servers = deployment.servers(release) if release is not None else []
        for unit in servers:
            deployment.stop(unit)
    stop_unneeded(deployment, None)
