"""The part of the plan in which a release that is ready takes over, is watched, and lets go of the one before it."""

from reconciler.core.planner import actions as act
from reconciler.core.planner import unit_values
from reconciler.core.planner.deployment_plan import DeploymentPlan
from reconciler.core.planner.reverify import reverify_when_due
from reconciler.core.planner.target import Target
from reconciler.core.state.reason import FAILED, Reason
from reconciler.core.state.status import Outlook, State
from reconciler.core.units.names import ReleaseId

MANY = 10
"""How many versions a sentence names."""


def take_over_or_finish_soak(deployment: DeploymentPlan, target: Target) -> Outlook:
    """All servers of the target accept: have it be the active release, and the good one after its soak."""
    record, active, good = deployment.record, deployment.active_release, deployment.good_release
    if active != target.id:
        if active and good is None and deployment.running(active) and record.rejection(active) is None:
            good = active
            deployment.before.append(act.MarkProven(deployment.name, deployment.servers(active)[0], active))
        put_in_standby(deployment, {active, good} - {None, target.id})
        make_active(deployment, target)
        return deployment.outlook(
            State.ROLLING_OUT, target.version, Reason.TAKING_OVER, f"version {target.version} takes over"
        )
    make_active(deployment, target)
    if good == target.id:
        return _steady(deployment, target)
    soak = target.rollout.soak
    servers = [deployment.seen.unit(unit) for unit in target.units(deployment.name)]
    ends = max(unit.since for unit in servers) + soak
    put_in_standby(deployment, {good} - {None})
    if good is None or soak == 0 or deployment.inputs.now >= ends:
        if others := _lingering(deployment, target):
            for unit in others:
                deployment.stop(unit)
            return deployment.outlook(State.ROLLING_OUT, target.version, Reason.TAKING_OVER, f"{others[0]} is ending")
        deployment.before.append(act.MarkProven(deployment.name, servers[0].name, target.id))
        return _steady(deployment, target)
    deployment.deadlines.append(ends)
    before = good.version
    return deployment.outlook(
        State.ROLLING_OUT,
        target.version,
        Reason.SOAKING,
        f"version {target.version} serves and is watched for {soak} s; version {before} is ready to take over again",
    )


def _lingering(deployment: DeploymentPlan, target: Target) -> list[str]:
    """The servers of others that may still answer: whatever is accepted answers alone."""
    others = [unit for release in deployment.releases() if release != target.id for unit in deployment.running(release)]
    return [unit for unit in others if not deployment.seen.unit(unit).stands_by]


def make_active(deployment: DeploymentPlan, target: Target) -> None:
    """Have the socket name the target, and a boot start the target and nothing else."""
    disable_others(deployment, target)
    point_socket_to(deployment, target)


def disable_others(deployment: DeploymentPlan, target: Target) -> None:
    """Have a boot start nothing but the target; before the socket names it, so that no two releases ever disagree."""
    stale = {unit for release in deployment.releases() for unit in deployment.servers(release)} - set(
        target.units(deployment.name)
    )
    deployment.disable(sorted(stale))


def point_socket_to(deployment: DeploymentPlan, target: Target) -> None:
    """Have the socket name the target, and a boot start both."""
    servers = [unit for unit in target.units(deployment.name) if unit in deployment.seen.files]
    if deployment.active_release != target.id and deployment.socket not in deployment.shared:
        port = deployment.port or deployment.choose_port()
        if port:
            deployment.write(
                unit_values.socket(deployment.name, target.id, target.runtime, port, deployment.inputs.listening)
            )
    deployment.after += [
        act.Enable(deployment.name, one) for one in (deployment.socket, *servers) if one not in deployment.seen.enabled
    ]


def put_in_standby(deployment: DeploymentPlan, releases: set[ReleaseId | None]) -> None:
    """Have the servers of other releases stop accepting; they stay loaded."""
    for release in sorted(one for one in releases if one is not None):
        deployment.stand_by(deployment.servers(release))


def _steady(deployment: DeploymentPlan, target: Target) -> Outlook:
    """The target serves and proved itself: see that its files are what they were."""
    _scale_down(deployment, target)
    release = target.release
    outlook = deployment.outlook(
        State.SERVING, target.version, Reason.NONE, f"selected by {release.selected_by}" if release else ""
    )
    if release and release.also_matching:
        versions = ", ".join(str(version) for version in release.also_matching[:MANY])
        more = f" and {len(release.also_matching) - MANY} more" if len(release.also_matching) > MANY else ""
        message = f"{release.selected_by} also has version {versions}{more}; the highest serves"
        outlook = deployment.outlook(State.SERVING, target.version, Reason.SEVERAL_SELECTED, message)
    doing = reverify_when_due(deployment, target.version, deployment.facts(target.id).environment)
    if doing is not None and doing.reason in FAILED.values():
        return deployment.outlook(State.SERVING, target.version, doing.reason, doing.message)
    return outlook


def _scale_down(deployment: DeploymentPlan, target: Target) -> None:
    """Have the servers removed that are more than the target's number."""
    for unit in sorted(set(deployment.servers(target.id)) - set(target.units(deployment.name))):
        if deployment.stop(unit) and unit not in deployment.seen.enabled:
            deployment.before.append(act.Remove(deployment.name, unit))
