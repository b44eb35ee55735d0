"""The part of the plan that sees to the active release while another one is made ready: it serves, or is closed."""

from reconciler.core.planner.deployment_plan import DeploymentPlan
from reconciler.core.planner.listen import listen
from reconciler.core.planner.prepare import reverify_and_repair, verify_again
from reconciler.core.planner.target import Target, of_files
from reconciler.core.units import names
from reconciler.core.units.names import ReleaseId


def keep_serving(deployment: DeploymentPlan, active: ReleaseId, in_standby: int = 0) -> None:
    """Plan that the active release goes on serving, with all but the first `in_standby` of its servers.

    What somebody changed or stopped is put right. A server that is down is started only after its files were verified.
    """
    servers = deployment.servers(active)
    if not servers or deployment.is_idle(active):
        return
    deployment.restore_files([*servers, deployment.socket, names.slice_unit(deployment.name)])
    if listen(deployment, of_files(deployment, active)) is not None:
        return
    expected = servers[in_standby:]
    deployment.resume(expected)
    startable = [server for server in expected if _may_be_started(deployment, server)]
    failed = [server for server in startable if deployment.seen.unit(server).active == "failed"]
    if failed:
        _verify_before_restart(deployment, active, failed)
    elif startable:
        _start_when_verified(deployment, active, startable)


def _may_be_started(deployment: DeploymentPlan, server: str) -> bool:
    """Whether a server is down and need not wait for its next try."""
    return deployment.seen.unit(server).is_down and server not in deployment.inputs.retry_later


def _verify_before_restart(deployment: DeploymentPlan, active: ReleaseId, failed: list[str]) -> None:
    """Clear the failures and have the files compared once more, before the servers are started in a later pass."""
    for server in failed:
        deployment.stop(server)
    nothing_runs = not any(deployment.running(release) for release in deployment.releases())
    if nothing_runs:
        # It may have lost what it listened on; only a start gives it that again.
        deployment.stop(deployment.socket)
    verify_again(deployment, active.version)


def _start_when_verified(deployment: DeploymentPlan, active: ReleaseId, down: list[str]) -> None:
    """Start servers that somebody stopped, once their files are what they were."""
    environment = deployment.facts(active).environment
    is_under_way = reverify_and_repair(deployment, active.version, environment) is not None
    if is_under_way:
        return
    for server in down:
        deployment.start(server)
        deployment.note_start(server)


def close_failed_start(deployment: DeploymentPlan, target: Target, server: str) -> None:
    """Plan that a target whose server does not start leaves no silent address behind.

    The server is stopped. The socket is closed if it names the target and no other server of it accepts requests; else
    the release that the socket names goes on serving.
    """
    active = deployment.active_release
    others_accept = deployment.is_partly_up(target.id)
    target_is_active = active == target.id
    if active is not None and (not target_is_active or others_accept):
        is_rejected = deployment.record.rejection(active) is not None
        if not is_rejected:
            keep_serving(deployment, active)
    if not deployment.seen.unit(server).is_down:
        deployment.stop(server)
    if target_is_active and not others_accept:
        _close_socket(deployment)


def close_unanswered(deployment: DeploymentPlan, target: Target) -> None:
    """Plan that the address closes while a target is made ready, if the active release has nothing that could answer.

    A rejected release is never started again, and a boot must not start it through the socket either. One that is idle
    is left open: the next request starts it.
    """
    active = deployment.active_release
    if active is None or active == target.id:
        return
    is_rejected = deployment.record.rejection(active) is not None
    may_answer = bool(deployment.running(active)) or deployment.is_idle(active)
    if may_answer and not is_rejected:
        return
    if is_rejected:
        deployment.disable([deployment.socket])
    _close_socket(deployment)
    for unit in deployment.servers(active):
        if not deployment.seen.unit(unit).is_down:
            deployment.stop(unit)


def _close_socket(deployment: DeploymentPlan) -> None:
    """Stop the socket: clients are refused at once. One that has failed keeps its failure, which is told."""
    if not deployment.seen.unit(deployment.socket).is_down:
        deployment.stop(deployment.socket)
