"""The part of the plan that has a deployment's socket listen, on its port or on another one."""

from dataclasses import dataclass

from reconciler.core.planner.active import write_socket
from reconciler.core.planner.deployment_plan import DeploymentPlan
from reconciler.core.planner.deployment_view import DeploymentView
from reconciler.core.planner.target import Target
from reconciler.core.state.reason import Reason


@dataclass(frozen=True)
class NotListening:
    """Why a socket does not listen; without a reason it is on its way."""

    reason: Reason = Reason.NONE
    why: str = ""


def listen(deployment: DeploymentPlan, target: Target) -> NotListening | None:
    """Plan that the socket listens for a target; None when it does, or will once this plan is carried out.

    The socket keeps its port unless somebody else holds that. systemd refuses to start a socket whose service runs, so
    all servers are stopped in a pass before, and for a moment nobody answers.
    """
    if deployment.listens:
        return None
    running = _all_running(deployment)
    if running:
        _stop_for_socket(deployment, running)
        return NotListening()

    # A port that somebody else holds is given up, and clients must ask for the new one: better than to wait for ever.
    if deployment.port is None or deployment.port in deployment.inputs.busy_ports:
        port = deployment.choose_port()
        if port is None:
            return _no_free_port(deployment)
        write_socket(deployment, target, port)
    elif deployment.socket in deployment.inputs.retry_later:
        return NotListening(Reason.SOCKET_FAILED, deployment.inputs.retry_later[deployment.socket])
    elif deployment.active_release != target.id:
        write_socket(deployment, target, deployment.port)

    deployment.start(deployment.socket)
    deployment.note_start(deployment.socket)
    return None


def _all_running(view: DeploymentView) -> list[str]:
    """List the servers of all releases that are not down; those in standby run, too."""
    found: list[str] = []
    for release in view.releases():
        found += view.running(release)
    return found


def _stop_for_socket(deployment: DeploymentPlan, running: list[str]) -> None:
    """Plan that all servers stop, so that the socket can be started in a later pass.

    That start is a repair. If the budget for repairs is used up, it is counted now already, so that the deployment
    stalls with its servers running: to stall after they were stopped would leave nobody.
    """
    budget_is_used_up = deployment.name in deployment.inputs.exhausted
    if budget_is_used_up:
        deployment.note_repair(deployment.socket, "started")
    for unit in running:
        deployment.stop(unit)


def _no_free_port(view: DeploymentView) -> NotListening:
    """Say that every port of the range is taken."""
    first, last = view.inputs.port_range
    why = f"cannot give {view.name} a port: none of {first}-{last} is free; widen deploy.port_range"
    return NotListening(Reason.NO_FREE_PORT, why)
