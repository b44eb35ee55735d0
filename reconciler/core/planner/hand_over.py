"""The part of the plan in which a release that is ready takes over, and is watched until it has proved itself."""

from collections.abc import Iterable

from reconciler.core.planner import actions as act
from reconciler.core.planner.active import make_active
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
    active = deployment.active_release
    good = deployment.good_release
    if active is not None and _is_first_and_serves(deployment, active):
        # A first release has no soak. The next one was promoted before a pass could mark this one.
        good = active
        server = deployment.servers(active)[0]
        deployment.before.append(act.MarkProven(deployment.name, server, active))

    before = {active, good} - {None, target.id}
    put_in_standby(deployment, before)
    make_active(deployment, target)
    message = f"version {target.version} takes over"
    return deployment.outlook(State.ROLLING_OUT, target.version, Reason.TAKING_OVER, message)


def _is_first_and_serves(view: DeploymentView, active: ReleaseId) -> bool:
    """Whether the active release runs, was not rejected, and has no good release before it.

    Then it is what the target may go back to, and so it counts as good.
    """
    if view.good_release is not None:
        return False
    is_rejected = view.record.rejection(active) is not None
    is_running = bool(view.running(active))
    return is_running and not is_rejected


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

    # Nothing may happen on the host until then that would cause a pass.
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
    """List the servers of all other releases that are neither down nor in standby.

    One that is stopping is among them: it still answers the requests that it has.
    """
    return [unit for unit in others_running(view, target) if not view.seen.unit(unit).stands_by]


def keep_serving_target(deployment: DeploymentPlan, target: Target) -> Outlook:
    """Keep a target as it is that is active, proved itself and serves: its enablement, its number, its files."""
    make_active(deployment, target)
    return _keep_as_it_is(deployment, target)


def _keep_as_it_is(deployment: DeploymentPlan, target: Target) -> Outlook:
    """Remove servers that are too many, and verify the files when they are due.

    The state is `serving` also while the files are verified or made again; only a failure is told beside it.
    """
    _scale_down(deployment, target)
    # The server has loaded its files long ago. That they are bad now is a reason to repair them, not to stop it.
    verification = reverify_when_due(deployment, target.version, deployment.facts(target.id).environment)
    if verification is not None and verification.reason in FAILED.values():
        return deployment.outlook(State.SERVING, target.version, verification.reason, verification.message)

    release = target.release
    if release is None:
        # The registry does not select it. The caller says why it is kept.
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

    Each is disabled (by `make_active`) and stopped. Its file goes in a later pass, when both are done: without the file
    the link that enables it would stay behind.
    """
    surplus = set(deployment.servers(target.id)) - set(target.units(deployment.name))
    for unit in sorted(surplus):
        is_down = deployment.stop(unit)
        if is_down and unit not in deployment.seen.enabled:
            deployment.before.append(act.Remove(deployment.name, unit))


def put_in_standby(deployment: DeploymentPlan, releases: Iterable[ReleaseId | None]) -> None:
    """Plan that the servers of releases stop accepting requests; they stay loaded. None among them is passed over.

    Servers that do not accept are left alone, so that it can be asked for in every pass.
    """
    found = [release for release in releases if release is not None]
    for release in sorted(found):
        deployment.stand_by(deployment.servers(release))
