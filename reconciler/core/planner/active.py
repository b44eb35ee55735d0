"""The part of the plan that makes a release the active one: the socket names it, and a boot starts it alone."""

from reconciler.core.planner import actions as act
from reconciler.core.planner import unit_values
from reconciler.core.planner.deployment_plan import DeploymentPlan
from reconciler.core.planner.target import Target


def make_active(deployment: DeploymentPlan, target: Target) -> None:
    """Plan that the socket names the target, and that a boot starts the target and nothing else.

    Order: what a boot would start besides is disabled before the socket's file is written, and the target is enabled
    after it. A boot in between starts no server, and the first request starts the one that the socket names. So a boot
    never starts two releases.
    """
    disable_others(deployment, target)
    point_socket_to(deployment, target)


def disable_others(deployment: DeploymentPlan, target: Target) -> None:
    """Plan that a boot starts no server but the target's, neither of other releases nor one too many of its own."""
    others: set[str] = set()
    # Only servers that have a file can be enabled.
    for release in deployment.releases():
        others.update(deployment.servers(release))
    others.difference_update(target.units(deployment.name))
    deployment.disable(sorted(others))


def point_socket_to(deployment: DeploymentPlan, target: Target) -> None:
    """Plan that the socket names the target, and that a boot starts both.

    systemd reads the socket's file anew without closing the socket: the address listens all the time. Servers that have
    no file yet are enabled in a later pass.
    """
    names_another = deployment.active_release != target.id
    # The socket may have been given another port in this very plan, and names the target then.
    is_written_already = deployment.socket in deployment.shared
    if names_another and not is_written_already:
        # Somebody may have edited the file: without a port, or with 0, it gets one.
        port = deployment.port or deployment.choose_port()
        write_socket(deployment, target, port)

    servers = [unit for unit in target.units(deployment.name) if unit in deployment.seen.files]
    for unit in (deployment.socket, *servers):
        if unit not in deployment.seen.enabled:
            deployment.after.append(act.Enable(deployment.name, unit))


def write_socket(deployment: DeploymentPlan, target: Target, port: int | None) -> None:
    """Plan that the socket's file is written with a port and the target's name.

    Plans nothing without a port: none may be free. Then the socket goes on as it is.
    """
    if port is None:
        return
    socket = unit_values.socket(deployment.name, target.id, target.runtime, port, deployment.inputs.listening)
    deployment.write(socket)
