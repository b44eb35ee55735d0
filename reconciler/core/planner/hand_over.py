"""The part of the plan in which a release that is ready takes over, and is watched until it has proved itself."""

from collections.abc import Iterable

from reconciler.core.planner import actions as act
from reconciler.core.planner import unit_values
from reconciler.core.planner.deployment_plan import DeploymentPlan
from reconciler.core.planner.deployment_view import DeploymentView
from reconciler.core.planner.reverify import reverify_when_due
from reconciler.core.planner.target import Target
from reconciler.core.state.reason import FAILED, Reason
from reconciler.core.state.release import Release
from reconciler.core.state.status import Outlook, State
from reconciler.core.units.names import ReleaseId

MANY = 10
"""How many versions a sentence names."""


def take_over(deployment: DeploymentPlan, target: Target) -> Outlook:
    """Make a target active of which all servers accept requests, and put the releases before it in standby.

    The standby is a signal, so it comes before the socket names the target: from then on the target answers alone.
    """
    active, good = deployment.active_release, deployment.good_release
    if active and good is None and _has_served_as_first(deployment, active):
        # A first release has no soak. It may not have been marked yet when the next one was promoted at once.
        good = active
        server = deployment.servers(active)[0]
        deployment.before.append(act.MarkProven(deployment.name, server, active))
    put_in_standby(deployment, {active, good} - {None, target.id})
    make_active(deployment, target)
    message = f"version {target.version} takes over"
    return deployment.outlook(State.ROLLING_OUT, target.version, Reason.TAKING_OVER, message)


def _has_served_as_first(view: DeploymentView, active: ReleaseId) -> bool:
    """Whether the active release of a deployment without a good one runs and was not rejected."""
    is_rejected = view.record.rejection(active) is not None
    return bool(view.running(active)) and not is_rejected


def watch_soak(deployment: DeploymentPlan, target: Target) -> Outlook:
    """Watch an active target until its soak is over, then mark it as proven.

    The good release stays in standby meanwhile. The soak begins when the last of the target's servers got ready. There
    is none without a good release: there would be nothing to go back to.
    """
    make_active(deployment, target)
    good = deployment.good_release
    put_in_standby(deployment, [good])
    soak = target.rollout.soak
    servers = [deployment.seen.unit(unit) for unit in target.units(deployment.name)]
    ends = max(unit.since for unit in servers) + soak
    is_over = soak == 0 or deployment.inputs.now >= ends
    if good is None or is_over:
        return _finish_soak(deployment, target)
    deployment.deadlines.append(ends)
    message = (
        f"version {target.version} serves and is watched for {soak} s; "
        f"version {good.version} is ready to take over again"
    )
    return deployment.outlook(State.ROLLING_OUT, target.version, Reason.SOAKING, message)


def _finish_soak(deployment: DeploymentPlan, target: Target) -> Outlook:
    """Mark the target as proven, once no server of another release may still answer.

    Such a server is stopped first: whatever proves itself answers alone.
    """
    others = _others_that_may_answer(deployment, target)
    if others:
        for unit in others:
            deployment.stop(unit)
        message = f"{others[0]} is ending"
        return deployment.outlook(State.ROLLING_OUT, target.version, Reason.TAKING_OVER, message)
    server = target.units(deployment.name)[0]
    deployment.before.append(act.MarkProven(deployment.name, server, target.id))
    return _keep_as_it_is(deployment, target)


def others_running(view: DeploymentView, target: Target) -> list[str]:
    """List the servers of all other releases that are not down, those in standby included."""
    found: list[str] = []
    for release in view.releases():
        if release != target.id:
            found += view.running(release)
    return found


def _others_that_may_answer(view: DeploymentView, target: Target) -> list[str]:
    """List the servers of all other releases that are neither down nor in standby."""
    return [unit for unit in others_running(view, target) if not view.seen.unit(unit).stands_by]


def keep_serving_target(deployment: DeploymentPlan, target: Target) -> Outlook:
    """Keep a target as it is that is active, proved itself and serves: its enablement, its number, its files."""
    make_active(deployment, target)
    return _keep_as_it_is(deployment, target)


def _keep_as_it_is(deployment: DeploymentPlan, target: Target) -> Outlook:
    """Remove servers that are too many, and verify the files when they are due.

    A verification that goes on or that fails changes nothing of what serves: only a failure is told, beside `serving`.
    """
    _scale_down(deployment, target)
    verification = reverify_when_due(deployment, target.version, deployment.facts(target.id).environment)
    if verification is not None and verification.reason in FAILED.values():
        return deployment.outlook(State.SERVING, target.version, verification.reason, verification.message)
    release = target.release
    if release is None:
        return deployment.outlook(State.SERVING, target.version)
    if release.also_matching:
        message = _several_selected(release)
        return deployment.outlook(State.SERVING, target.version, Reason.SEVERAL_SELECTED, message)
    return deployment.outlook(State.SERVING, target.version, Reason.NONE, f"selected by {release.selected_by}")


def _several_selected(release: Release) -> str:
    """Say which versions the selector has besides, the first few by their numbers."""
    versions = ", ".join(str(version) for version in release.also_matching[:MANY])
    left_out = len(release.also_matching) - MANY
    more = f" and {left_out} more" if left_out > 0 else ""
    return f"{release.selected_by} also has version {versions}{more}; the highest serves"


def _scale_down(deployment: DeploymentPlan, target: Target) -> None:
    """Plan that the servers are removed which are more than the target's number.

    Each is stopped first, then disabled (by `disable_others`), and its file goes when it is neither up nor enabled.
    """
    surplus = set(deployment.servers(target.id)) - set(target.units(deployment.name))
    for unit in sorted(surplus):
        is_down = deployment.stop(unit)
        if is_down and unit not in deployment.seen.enabled:
            deployment.before.append(act.Remove(deployment.name, unit))


def make_active(deployment: DeploymentPlan, target: Target) -> None:
    """Plan that the socket names the target, and that a boot starts the target and nothing else.

    Order: what a boot would start besides is disabled before the socket's file is written. In between a boot starts no
    server, and the first request starts the one that the socket names; never do two releases start.
    """
    disable_others(deployment, target)
    point_socket_to(deployment, target)


def disable_others(deployment: DeploymentPlan, target: Target) -> None:
    """Plan that a boot starts no server but the target's, neither of other releases nor one too many of its own."""
    stale: set[str] = set()
    for release in deployment.releases():
        stale.update(deployment.servers(release))
    stale.difference_update(target.units(deployment.name))
    deployment.disable(sorted(stale))


def point_socket_to(deployment: DeploymentPlan, target: Target) -> None:
    """Plan that the socket names the target, and that a boot starts both.

    systemd reads the socket's file anew without closing the socket: the address listens all the time.
    """
    names_another = deployment.active_release != target.id
    is_written_in_this_plan = deployment.socket in deployment.shared
    if names_another and not is_written_in_this_plan:
        write_socket(deployment, target, deployment.port or deployment.choose_port())
    servers = [unit for unit in target.units(deployment.name) if unit in deployment.seen.files]
    for unit in (deployment.socket, *servers):
        if unit not in deployment.seen.enabled:
            deployment.after.append(act.Enable(deployment.name, unit))


def write_socket(deployment: DeploymentPlan, target: Target, port: int | None) -> None:
    """Add the rendering of a socket that names the target; nothing without a port, of which none may be free."""
    if port is None:
        return
    socket = unit_values.socket(deployment.name, target.id, target.runtime, port, deployment.inputs.listening)
    deployment.write(socket)


def put_in_standby(deployment: DeploymentPlan, releases: Iterable[ReleaseId | None]) -> None:
    """Plan that the servers of releases stop accepting requests; they stay loaded. None among them is passed over."""
    found = [release for release in releases if release is not None]
    for release in sorted(found):
        deployment.stand_by(deployment.servers(release))
