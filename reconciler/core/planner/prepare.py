"""The part of the plan that comes before the start of the desired release: fetch, build, verify.

Order: a step starts only when the one before it has finished well, and the unit of a server is written only when all
have. What a step reported is recorded (`pins`) before the next one starts, because the next one compares with it.
"""

from reconciler.core.planner import actions as act
from reconciler.core.planner import unit_values
from reconciler.core.planner.deployment_plan import DeploymentPlan
from reconciler.core.planner.pins import why_changed
from reconciler.core.planner.unproved import why_not_taken_unproved
from reconciler.core.planner.watching import stop_watching
from reconciler.core.state.reason import DOING, FAILED, Reason
from reconciler.core.state.release import Release
from reconciler.core.state.status import Outlook, State
from reconciler.core.units import names
from reconciler.core.units.logged_example import LoggedExample
from reconciler.core.units.names import Step
from reconciler.core.units.observed import File, Unit


def prepare(deployment: DeploymentPlan, release: Release) -> Outlook | None:
    """Add the next step towards a release that can start. Return the status until it can, None when it can.

    In a pass in which this returns None, the unit of the release's first server has a file or is written.
    """
    # What a fetch reports names the environment: before that, nothing after the fetch can be planned.
    fetch = unit_values.fetch(release, deployment.inputs.steps)
    fetched = deployment.seen.unit(fetch.unit)
    environment = fetched.environment
    if _has_failed_verification(deployment, release):
        return redo_steps(deployment, release, environment)
    outlook = _take_step(deployment, release, fetch, Step.FETCH, f"downloading version {release.version}")
    if outlook is not None:
        return outlook
    if environment is None or fetched.files is None:
        return _refetch(deployment, release, environment)
    outlook = (
        _why_not_usable(deployment, release)
        or why_not_taken_unproved(deployment, release, fetched.example)
        or _build(deployment, release, environment)
    )
    if outlook is not None:
        return outlook
    outlook = _verify(deployment, release, environment)
    if outlook is None:
        _write_first_server(deployment, release, environment, fetched.example)
    return outlook


def redo_steps(deployment: DeploymentPlan, release: Release, environment: str | None) -> Outlook:
    """Plan that every step is done again, because files of the release turned out to be damaged.

    That costs little: a step keeps what is as it should be, and makes only what is missing or damaged.
    """
    # Stopped steps count as not done. The next passes start them again, one after the other.
    deployment.stop(names.verify_unit(release.name, release.version))
    deployment.stop(names.fetch_unit(release.name, release.version))
    if environment not in (None, names.HOST_ENVIRONMENT):
        deployment.stop(names.build_unit(str(environment)))
    message = f"checking the files of version {release.version} again"
    return deployment.outlook(State.PREPARING, release.version, Reason.FETCHING, message)


def _has_failed_verification(deployment: DeploymentPlan, release: Release) -> bool:
    """Whether the last verification failed, and its time to be tried again has come.

    Verified alone, the same files would fail again. So they are made again first.
    """
    verify = names.verify_unit(release.name, release.version)
    has_failed = deployment.seen.unit(verify).active == "failed"
    return has_failed and verify not in deployment.inputs.retry_later


def _refetch(deployment: DeploymentPlan, release: Release, environment: str | None) -> Outlook:
    """Plan another fetch, because the last one ended well and did not report what the steps after it need.

    It counts as failed, so it waits like a failed one until it may be tried again.
    """
    fetch = names.fetch_unit(release.name, release.version)
    why = deployment.inputs.retry_later.get(fetch)
    if why:
        return deployment.blocked(release.version, Reason.FETCH_FAILED, why)
    return redo_steps(deployment, release, environment)


def _why_not_usable(deployment: DeploymentPlan, release: Release) -> Outlook | None:
    """Return the status when fetched files must not be used, None when they may.

    They must be the files of the first fetch, and the record of that must be on the disk.
    """
    source = unit_values.source_of(release)
    fetch = names.fetch_unit(release.name, release.version)
    why = why_changed(deployment.seen, deployment.inputs.ledger, fetch, source)
    if why is not None:
        return deployment.blocked(release.version, Reason.FILES_CHANGED, why)
    pin = unit_values.pin(release.name, release.version, source)
    if pin in deployment.inputs.unwritten:
        return _unrecorded(deployment, release)
    return None


def _build(deployment: DeploymentPlan, release: Release, environment: str) -> Outlook | None:
    """Add the build of the release's environment. Return None when it is built, or is the host's own."""
    if environment == names.HOST_ENVIRONMENT:
        return None
    build = unit_values.build(release, environment, deployment.inputs.steps)
    doing = f"building the environment of version {release.version}"
    outlook = _take_step(deployment, release, build, Step.BUILD, doing)
    is_recorded = environment not in deployment.inputs.unwritten
    if outlook is None and not is_recorded:
        return _unrecorded(deployment, release)
    return outlook


def _unrecorded(deployment: DeploymentPlan, release: Release) -> Outlook:
    """Return the status of a release whose next step has no digest to compare with: the disk did not take it."""
    why = f"cannot record what was fetched or built for version {release.version}; see reconciler status for the disk"
    return deployment.blocked(release.version, Reason.ACTION_FAILED, why)


def _verify(deployment: DeploymentPlan, release: Release, environment: str) -> Outlook | None:
    """Add the verification of the release's files and environment. Return None when both are verified.

    It comes last: also what was built may have been changed since.
    """
    files = unit_values.Files(release.name, release.version, unit_values.source_of(release), environment)
    verify = unit_values.verify(files, deployment.inputs.steps)
    return _take_step(deployment, release, verify, Step.VERIFY, f"verifying version {release.version}")


def _write_first_server(
    deployment: DeploymentPlan, release: Release, environment: str, example: LoggedExample | None
) -> None:
    """Add the rendering of the release's first server, unless it has a file that runs in this environment.

    A newer version of this product makes another environment for the same release, with its newer server.
    """
    server = deployment.seen.files.get(names.server_unit(release.name, release.id))
    is_current = server is not None and server.facts.environment == environment
    if not is_current:
        inputs = deployment.inputs
        deployment.write(unit_values.server(release, environment, inputs.listening, example, compose=inputs.compose))


def _take_step(
    deployment: DeploymentPlan, release: Release, render: act.Render, step: Step, doing: str
) -> Outlook | None:
    """Add what brings one step forward. Return the status until it has finished well, then None.

    `render` is the step's unit, `doing` says in the status what the step does. The same unit is planned once in a
    pass, also when several deployments need it.
    """
    unit, file = deployment.seen.unit(render.unit), deployment.seen.files.get(render.unit)
    if _is_done(render, unit, file):
        return None
    # A step changes the files itself: nobody has to be told of that.
    stop_watching(deployment, release.version)
    if render.unit in deployment.seen.foreign:
        why = f"cannot use the unit name {render.unit}: somebody else's unit has it; move that unit away"
        return deployment.blocked(release.version, Reason.UNIT_NOT_OURS, why)
    is_planned = render.unit in deployment.shared
    # An environment that another deployment failed to build fails here for the same reason.
    is_to_wait = unit.is_down and _is_for_this(render, file) and render.unit in deployment.inputs.retry_later
    if is_to_wait and not is_planned:
        return deployment.blocked(release.version, FAILED[step], deployment.inputs.retry_later[render.unit])
    if not is_planned:
        _plan_step(deployment, render)
    return deployment.outlook(State.PREPARING, release.version, DOING[step], doing)


def _is_for_this(render: act.Render, file: File | None) -> bool:
    """Whether a step's unit file was written for the same purpose: the same source, and the same settings for it.

    Other values of the unit, such as its deadline, may differ: they do not make its result another one.
    """
    return file is not None and file.facts.done_for == render.facts.done_for


def _is_done(render: act.Render, unit: Unit, file: File | None) -> bool:
    """Whether a step has finished well, and that counts for this release.

    A build counts for every release: its name is a digest of all that the environment is made from.
    """
    # Without its file, nobody knows what an active unit was started for.
    is_build = names.parse_build(render.unit) is not None
    counts = file is not None and (is_build or _is_for_this(render, file))
    return unit.has_finished_well and counts


def _plan_step(deployment: DeploymentPlan, render: act.Render) -> None:
    """Add the start of a step that is down, or what has to come before that.

    While the step runs, nothing is added: its end is awaited. If it ran for something else, it is stopped first.
    """
    unit, file = deployment.seen.unit(render.unit), deployment.seen.files.get(render.unit)
    if not unit.is_down:
        if file is None:
            deployment.write(render)
        elif unit.has_finished_well:
            deployment.stop(render.unit)
        return
    # Also an unchanged unit is in `shared`: another deployment that needs it must not plan it a second time.
    is_as_rendered = file is not None and file.facts.digest == render.facts.digest
    if is_as_rendered and _is_for_this(render, file):
        deployment.restore_files([render.unit])
        deployment.shared[render.unit] = render
    else:
        deployment.write(render)
    deployment.start(render.unit)
