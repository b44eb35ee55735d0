"""The part of the plan that makes a target ready to be started, and starts its servers one after the other."""

from reconciler.core.planner import unit_values
from reconciler.core.planner.deployment_plan import DeploymentPlan, forget_compiled
from reconciler.core.planner.deployment_view import DeploymentView
from reconciler.core.planner.prepare import prepare, redo_steps
from reconciler.core.planner.reverify import reverify_and_repair, verify_again
from reconciler.core.planner.target import Target
from reconciler.core.state.reason import Reason
from reconciler.core.state.release import Release
from reconciler.core.state.status import Outlook, State
from reconciler.core.units import names
from reconciler.core.units.failures import why_failed
from reconciler.core.units.observed import RESTARTS_THAT_ARE_ENOUGH


def make_ready(deployment: DeploymentPlan, target: Target) -> Outlook | None:
    """Plan the next step towards a target that can be started; None when it can.

    Its files are fetched, built and verified first, then its missing units are written. While its first server is being
    started or runs, the files are in use: nothing is done to them.
    """
    if not _first_server_runs(deployment, target):
        if target.release is None:
            return _make_ready_from_files(deployment, target)
        outlook = _make_ready_from_registry(deployment, target, target.release)
        if outlook is not None:
            return outlook

    # Units that somebody removed are rendered again, also while their release runs.
    if names.slice_unit(deployment.name) not in deployment.seen.files:
        deployment.write(unit_values.slice_(deployment.name, target.runtime))
    if target.release is not None:
        _write_servers(deployment, target, target.release)
    return None


def _first_server_runs(view: DeploymentView, target: Target) -> bool:
    """Whether the first of the target's servers that has a file is not down."""
    servers = view.servers(target.id)
    return bool(servers) and not view.seen.unit(servers[0]).is_down


def _clear_failure(deployment: DeploymentPlan, target: Target) -> bool:
    """Clear the failure of the target's first server; True when there was one.

    The files are suspected then, and compared with their digests before another start. As the failure is cleared in the
    same plan, that is done once for each failure.
    """
    servers = deployment.servers(target.id)
    if not servers:
        return False
    has_failed = deployment.seen.unit(servers[0]).active == "failed"
    if has_failed:
        deployment.stop(servers[0])
        # What it compiled is suspected, too, and cannot be compared with anything.
        deployment.before += forget_compiled(deployment, servers[0])
    return has_failed


def _make_ready_from_files(deployment: DeploymentPlan, target: Target) -> Outlook | None:
    """Verify a target that the registry does not select, and repair it with what its own units say; None when done."""
    if _clear_failure(deployment, target):
        return verify_again(deployment, target.version)
    return reverify_and_repair(deployment, target.version, deployment.facts(target.id).environment)


def _make_ready_from_registry(deployment: DeploymentPlan, target: Target, release: Release) -> Outlook | None:
    """Fetch, build and verify what the registry selects, all of it once more after a failed start; None when done."""
    if _clear_failure(deployment, target):
        return redo_steps(deployment, release, deployment.facts(target.id).environment)
    return prepare(deployment, release)


def _write_servers(deployment: DeploymentPlan, target: Target, release: Release) -> None:
    """Write the server units that have no file, with the environment and the example that the first one names.

    `prepare` writes the first one, as soon as it knows the environment. The others follow in a later pass, and so does
    a server that somebody removed.
    """
    facts = deployment.facts(target.id)
    if not facts.environment:
        return
    # The numbers of replicas begin with 1, which the first server does not show in its name.
    for number, unit in enumerate(target.units(deployment.name), 1):
        if unit not in deployment.seen.files:
            listening, compose = deployment.inputs.listening, deployment.inputs.compose
            deployment.write(unit_values.server(release, facts.environment, listening, facts.example, number, compose))


def start_next(deployment: DeploymentPlan, target: Target) -> None:
    """Plan that the first of the target's servers that is not ready starts; those in standby before it resume.

    One at a time: a release that cannot start is found out by its first server, and a host has memory for one load.
    """
    for server in target.units(deployment.name):
        unit = deployment.seen.unit(server)
        if unit.stands_by:
            # It is loaded: it needs no turn of its own.
            deployment.resume([server])
            continue
        if unit.is_up:
            continue

        # systemd reads the files of this plan before it starts anything, so one that is written just now is enough.
        has_file = server in deployment.seen.files or server in deployment.shared
        if unit.is_down and has_file:
            deployment.start(server)
            _note_start_of_proven(deployment, target, server)
        return


def _note_start_of_proven(deployment: DeploymentPlan, target: Target, server: str) -> None:
    """Count the start as a repair if the target proved itself and should serve: then somebody has stopped it.

    The start of a candidate is no repair: it was asked for.
    """
    is_active_and_good = deployment.active_release == deployment.good_release == target.id
    if is_active_and_good:
        deployment.note_start(server)


def loading(view: DeploymentView, target: Target, reason: Reason = Reason.STARTING) -> Outlook:
    """Return the outlook while a target loads; `reason` says whether it is a new release or one that served before."""
    message = f"version {target.version} is loading"
    return view.outlook(State.ROLLING_OUT, target.version, reason, message)


def crash_looping(view: DeploymentView, target: Target) -> Outlook | None:
    """Return the outlook of a target that served and ends again and again; None when it does not.

    systemd goes on starting it, and so does the plan: there is no other release that would be better.
    """
    for name in target.units(view.name):
        unit = view.seen.unit(name)
        # One that never got ready is a failed start, which is told as such.
        went_down = unit.ever_active and not unit.is_up
        # A single crash is not told: systemd starts the server again within a second.
        ends_often = unit.ends >= RESTARTS_THAT_ARE_ENOUGH
        if went_down and ends_often:
            return view.blocked(target.version, Reason.START_FAILED, why_failed(unit))
    return None
