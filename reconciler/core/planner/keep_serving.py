"""The part of the plan that sees to the active release while another one is made ready: it serves, or is closed."""

from reconciler.core.planner.deployment_plan import DeploymentPlan, forget_compiled
from reconciler.core.planner.listen import listen
from reconciler.core.planner.reverify import reverify_and_repair, verify_again
from reconciler.core.planner.target import Target, active_besides, of_files
from reconciler.core.units import names
from reconciler.core.units.names import ReleaseId


def keep_serving(deployment: DeploymentPlan, active: ReleaseId, in_standby: int = 0) -> None:
    """Plan that the active release goes on serving, with all but the first `in_standby` of its servers.

    What somebody changed or stopped is put right. A server that is down is started only after its files were verified.
    """
    servers = deployment.servers(active)
    # An idle release needs nothing: its socket starts it.
    if not servers or deployment.is_idle(active):
        return

    deployment.restore_files([*servers, deployment.socket, names.slice_unit(deployment.name)])
    not_listening = listen(deployment, of_files(deployment, active))
    if not_listening is not None:
        return

    # A signal needs no files: it does not wait for the verification that a start waits for.
    expected = servers[in_standby:]
    deployment.resume(expected)
    _start_again(deployment, active, expected)


def _start_again(deployment: DeploymentPlan, active: ReleaseId, expected: list[str]) -> None:
    """Plan that those of the active release's servers come up again that are down and may be started.

    A server that runs, starts or stops is left to systemd.
    """
    startable = [server for server in expected if _may_be_started(deployment, server)]
    if not startable:
        return
    # A failure may come from damaged files: then all of them are verified before any server is started.
    failed = [server for server in startable if deployment.seen.unit(server).active == "failed"]
    if failed:
        _verify_before_restart(deployment, active, failed)
    else:
        _start_when_verified(deployment, active, startable)


def _may_be_started(deployment: DeploymentPlan, server: str) -> bool:
    """Whether a server is down and need not wait for its next try.

    While it waits its release still counts as the active one, and other servers of it may serve.
    """
    waits_for_a_retry = server in deployment.inputs.retry_later
    return deployment.seen.unit(server).is_down and not waits_for_a_retry


def _verify_before_restart(deployment: DeploymentPlan, active: ReleaseId, failed: list[str]) -> None:
    """Clear the failures and have the files compared once more, before the servers are started in a later pass.

    If no server of the deployment runs, the socket stops, too, until then: it may have lost what it listened on, and
    only a start gives it that again.
    """
    for server in failed:
        deployment.stop(server)
    deployment.before += forget_compiled(deployment, failed[0])
    something_runs = any(deployment.running(release) for release in deployment.releases())
    if not something_runs:
        deployment.stop(deployment.socket)
    verify_again(deployment, active.version)


def _start_when_verified(deployment: DeploymentPlan, active: ReleaseId, down: list[str]) -> None:
    """Start servers that somebody stopped, once their files are what they were.

    Until then the plan has a step of the verification or of the repair, and no start.
    """
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
    nobody_answers = target_is_active and not others_accept

    # Somebody may have stopped what serves meanwhile: other servers of the target, or the release before it.
    if active is not None and not nobody_answers:
        is_rejected = deployment.record.rejection(active) is not None
        if not is_rejected:
            keep_serving(deployment, active)

    # systemd may be about to start it once more, which must wait as well.
    if not deployment.seen.unit(server).is_down:
        deployment.stop(server)
        # It may be why the server does not start.
        deployment.before += forget_compiled(deployment, server)
    if nobody_answers:
        _close_socket(deployment)


def close_unanswered(deployment: DeploymentPlan, target: Target) -> None:
    """Plan that the address closes while a target is made ready, if the active release has nothing that could answer.

    A rejected release is never started again, and a boot must not start it through the socket either. One that is idle
    is left open: the next request starts it.
    """
    active = active_besides(deployment, target)
    if active is None:
        return
    is_rejected = deployment.record.rejection(active) is not None
    is_running = bool(deployment.running(active))
    may_answer = is_running or deployment.is_idle(active)
    if may_answer and not is_rejected:
        return

    # The target takes the address in a later pass, and has the socket enabled again then.
    if is_rejected:
        deployment.disable([deployment.socket])
    _close_socket(deployment)
    for unit in deployment.servers(active):
        if not deployment.seen.unit(unit).is_down:
            deployment.stop(unit)


def _close_socket(deployment: DeploymentPlan) -> None:
    """Stop the socket, so that clients are refused at once; it may be down already.

    A failure of the socket is not cleared: whoever starts it next must know of it.
    """
    if not deployment.seen.unit(deployment.socket).is_down:
        deployment.stop(deployment.socket)
