"""The part of the plan that loads a target, in the way that its phase names."""

from reconciler.core.planner.active import disable_others, point_socket_to
from reconciler.core.planner.bring_up import crash_looping, loading, make_ready, start_next
from reconciler.core.planner.deployment_plan import DeploymentPlan
from reconciler.core.planner.deployment_view import DeploymentView
from reconciler.core.planner.hand_over import others_running, put_in_standby
from reconciler.core.planner.keep_serving import close_unanswered, keep_serving
from reconciler.core.planner.listen import listen
from reconciler.core.planner.phase import LoadingPhase, Phase
from reconciler.core.planner.reverify import reverify_when_due
from reconciler.core.planner.target import Target, active_besides
from reconciler.core.state.reason import Reason
from reconciler.core.state.status import Outlook
from reconciler.core.units.names import ReleaseId


def load(deployment: DeploymentPlan, target: Target, phase: LoadingPhase) -> Outlook:
    """Take the next step towards a target of which all servers accept requests.

    What has to be true before its servers start is the same in each phase: its files are verified, the deployment has
    its address. The phases differ in what becomes of the active release meanwhile.
    """
    match phase:
        case Phase.BESIDE:
            return _load_beside(deployment, target)
        case Phase.RECREATE:
            return _recreate(deployment, target)
        case Phase.IN_PLACE:
            return _load_in_place(deployment, target)
        case Phase.GOING_BACK:
            return _go_back(deployment, target)


def _load_beside(deployment: DeploymentPlan, target: Target) -> Outlook:
    """Load the target while the active release serves; each server that is ready takes the place of one of those.

    The last server of the active release goes on accepting until the target takes over as a whole.
    """
    active = active_besides(deployment, target)
    if active is not None:
        _exchange_servers(deployment, target, active)

    outlook = make_ready(deployment, target)
    if outlook is not None:
        return outlook
    # The address of the active release comes first: it listens again before anything is loaded.
    if deployment.listens:
        start_next(deployment, target)
    return loading(deployment, target)


def _exchange_servers(deployment: DeploymentPlan, target: Target, active: ReleaseId) -> None:
    """Put as many servers of the active release in standby as the target has ready, and keep the others serving."""
    ready = [unit for unit in target.units(deployment.name) if deployment.seen.unit(unit).is_up]
    servers = deployment.servers(active)
    in_standby = min(len(ready), len(servers) - 1)
    deployment.stand_by(servers[:in_standby])
    # A pre-empted candidate is active here. The good release may have resumed for a promotion before this one.
    put_in_standby(deployment, {deployment.good_release} - {None, active, target.id})
    keep_serving(deployment, active, in_standby)

    # A preparation may take hours, in which the files of what serves are verified as always. A release of the same
    # version has the same directory, which the preparation itself verifies.
    shares_files = active.version == target.version
    if deployment.is_up(active) and not shares_files:
        reverify_when_due(deployment, active.version, deployment.facts(active).environment)


def _recreate(deployment: DeploymentPlan, target: Target) -> Outlook:
    """Make the target ready while the active release serves, then stop that one and start the target.

    The two are never in memory together. Requests wait in the socket while the target loads.
    """
    outlook = make_ready(deployment, target)
    if outlook is None:
        return _swap(deployment, target)
    active = active_besides(deployment, target)
    if active is not None:
        keep_serving(deployment, active)
    return outlook


def _load_in_place(deployment: DeploymentPlan, target: Target) -> Outlook:
    """Make the target ready, then give it the address and start it: no other release serves."""
    outlook = make_ready(deployment, target)
    if outlook is None:
        return _swap(deployment, target)
    close_unanswered(deployment, target)
    return outlook


def _swap(deployment: DeploymentPlan, target: Target) -> Outlook:
    """Give a target that can be started the address, stop everything else, and start it."""
    outlook = _take_address(deployment, target, Reason.STARTING)
    if outlook is not None:
        return outlook

    others = _stop_others(deployment, target)
    return _start(deployment, target, others, Reason.STARTING)


def _go_back(deployment: DeploymentPlan, target: Target) -> Outlook:
    """Give a release that served before the address of a rejected one, and verify and start it after that.

    The address comes first, so that from then on neither a request nor a boot starts the rejected release.
    """
    outlook = _take_address(deployment, target, Reason.GOING_BACK)
    if outlook is not None:
        return outlook

    others = _stop_others(deployment, target)
    outlook = make_ready(deployment, target)
    if outlook is not None:
        return outlook
    if _stands_by(deployment, target):
        # The target resumes by a signal. By the next one the rejected release stops accepting, long before it ends.
        deployment.stand_by(others)
    return _start(deployment, target, others, Reason.GOING_BACK)


def _start(deployment: DeploymentPlan, target: Target, others: list[str], reason: Reason) -> Outlook:
    """Start a target that has the address, once it may be in memory together with the servers that still end.

    With the strategy `recreate` it waits until they are down, unless it is loaded already.
    """
    is_loaded = _stands_by(deployment, target)
    may_share_memory = target.rollout.strategy == "hand-over"
    if is_loaded or may_share_memory or not others:
        start_next(deployment, target)
    return crash_looping(deployment, target) or loading(deployment, target, reason)


def _take_address(deployment: DeploymentPlan, target: Target, reason: Reason) -> Outlook | None:
    """Plan that the socket listens and names the target; None when it does, or will once this plan is carried out.

    Otherwise the outlook says why not, and nothing more is to be planned for the target in this pass.
    """
    disable_others(deployment, target)
    not_listening = listen(deployment, target)
    if not_listening is None:
        point_socket_to(deployment, target)
        return None

    # Without a reason it is only a matter of passes: what keeps the socket from being started is stopping.
    if not_listening.reason:
        return deployment.blocked(target.version, not_listening.reason, not_listening.why)
    return loading(deployment, target, reason)


def _stop_others(deployment: DeploymentPlan, target: Target) -> list[str]:
    """Plan that the servers of all other releases stop, and return those that are not down yet.

    They stop after the reload: before it the socket names their release, and a request would start them again. If the
    target is active already, it is in its soak, and the good release goes on standing by.
    """
    others = others_running(deployment, target)
    # Somebody may have stopped the target, or it crashes. Then the release before it is all that could answer soon.
    if deployment.active_release == target.id:
        others = [unit for unit in others if not deployment.seen.unit(unit).stands_by]
    for unit in others:
        deployment.stop(unit, after_reload=True)
    return others


def _stands_by(view: DeploymentView, target: Target) -> bool:
    """Whether a server of the target is loaded and in standby, so that it can accept requests at once."""
    return any(view.seen.unit(unit).stands_by for unit in target.units(view.name))
