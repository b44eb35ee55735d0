"""The part of the plan that comes before a start: fetch, build, verify, each only when the one before it is done."""

from reconciler.core.planner import actions as act
from reconciler.core.planner import unit_values
from reconciler.core.planner.deployment_plan import DeploymentPlan
from reconciler.core.planner.pins import why_changed
from reconciler.core.state.reason import DOING, FAILED, Reason
from reconciler.core.state.release import Release
from reconciler.core.state.status import Outlook, State
from reconciler.core.units import names
from reconciler.core.units.names import Step
from reconciler.core.units.unit_facts import NO_FACTS

LATELY = 660.0
"""Seconds: files that were made so lately and are wrong again have another trouble than somebody's hand."""


def prepare(deployment: DeploymentPlan, release: Release) -> Outlook | None:
    """Take the next step towards a release that can start; None when it can."""
    steps = deployment.inputs.steps
    fetch = unit_values.fetch(release, steps)
    server = deployment.seen.files.get(names.server_unit(release.name, release.id))
    environment = deployment.seen.unit(fetch.unit).environment
    verify = names.verify_unit(release.name, release.version)
    if deployment.seen.unit(verify).active == "failed" and verify not in deployment.inputs.retry_later:
        return redo_steps(deployment, release, environment)
    if outlook := _step(deployment, release, fetch, Step.FETCH, f"downloading version {release.version}"):
        return outlook
    if environment is None or deployment.seen.unit(fetch.unit).files is None:
        if why := deployment.inputs.retry_later.get(fetch.unit):
            return deployment.blocked(release.version, Reason.FETCH_FAILED, why)
        return redo_steps(deployment, release, environment)
    if why := why_changed(deployment.seen, deployment.inputs.ledger, fetch.unit, unit_values.source_of(release)):
        return deployment.blocked(release.version, Reason.FILES_CHANGED, why)
    if unit_values.pin(release.name, release.version, unit_values.source_of(release)) in deployment.inputs.unwritten:
        return _unrecorded(deployment, release)
    if environment != names.HOST_ENVIRONMENT:
        build = unit_values.build(release, environment, steps)
        if outlook := _step(
            deployment, release, build, Step.BUILD, f"building the environment of version {release.version}"
        ):
            return outlook
        if environment in deployment.inputs.unwritten:
            return _unrecorded(deployment, release)
    outlook = _step(
        deployment,
        release,
        _verification(deployment, release.version, unit_values.source_of(release), environment),
        Step.VERIFY,
        f"verifying version {release.version}",
    )
    if outlook is None and (server is None or server.facts.environment != environment):
        deployment.write(unit_values.server(release, environment, deployment.inputs.listening))
    return outlook


def _unrecorded(deployment: DeploymentPlan, release: Release) -> Outlook:
    """Wait with what would have to be compared with a digest that the disk did not take."""
    why = f"cannot record what was fetched or built for version {release.version}; see reconciler status for the disk"
    return deployment.blocked(release.version, Reason.ACTION_FAILED, why)


def _verification(deployment: DeploymentPlan, version: int, source: str, environment: str) -> act.Render:
    return unit_values.verify(unit_values.Files(deployment.name, version, source, environment), deployment.inputs.steps)


def redo_steps(deployment: DeploymentPlan, release: Release, environment: str | None) -> Outlook:
    """Have every step done again: what is there already costs nothing, what is missing or damaged is made anew."""
    deployment.stop(names.verify_unit(release.name, release.version))
    deployment.stop(names.fetch_unit(release.name, release.version))
    if environment not in (None, names.HOST_ENVIRONMENT):
        deployment.stop(names.build_unit(str(environment)))
    return deployment.outlook(
        State.PREPARING, release.version, Reason.FETCHING, f"looking version {release.version} over again"
    )


def _step(deployment: DeploymentPlan, release: Release, render: act.Render, step: Step, doing: str) -> Outlook | None:
    """See a step done (None), or have it going."""
    unit, file = deployment.seen.unit(render.unit), deployment.seen.files.get(render.unit)
    is_for_this = file is not None and file.facts.done_for == render.facts.done_for
    if unit.has_finished_well and (is_for_this or (file is not None and names.parse_build(render.unit))):
        return None
    stop_watching(deployment, release.version)  # what a step changes nobody need be told
    if render.unit in deployment.seen.foreign:
        why = f"cannot use the unit name {render.unit}: somebody else's unit has it; move that unit away"
        return deployment.blocked(release.version, Reason.UNIT_NOT_OURS, why)
    underway = deployment.outlook(State.PREPARING, release.version, DOING[step], doing)
    if render.unit in deployment.shared:
        return underway
    if not unit.is_down:
        if file is None:
            deployment.write(render)
        elif unit.has_finished_well:
            deployment.stop(render.unit)
        return underway
    # An environment that another deployment failed to build fails here for the same reason.
    if render.unit in deployment.inputs.retry_later and is_for_this:
        return deployment.blocked(release.version, FAILED[step], deployment.inputs.retry_later[render.unit])
    if file is not None and is_for_this and file.facts.digest == render.facts.digest:
        deployment.restore_files([render.unit])
        deployment.shared[render.unit] = render
    else:
        deployment.write(render)
    deployment.start(render.unit)
    return underway


def stop_watching(deployment: DeploymentPlan, version: int) -> bool:
    """Have systemd no longer tell when the files of a version change; True when it does not.

    What it told already is not lost: the files count as not verified from then on.
    """
    down = deployment.stop(names.watch_unit(deployment.name, version))
    unchanged = deployment.stop(names.changed_unit(deployment.name, version))
    if not unchanged:
        deployment.stop(names.verify_unit(deployment.name, version))
    return unchanged and down


def verify_again(deployment: DeploymentPlan, version: int) -> Outlook:
    """Have the files of a release compared with their digests once more, before anything else is tried with them."""
    deployment.stop(names.verify_unit(deployment.name, version))
    return deployment.outlook(State.PREPARING, version, Reason.VERIFYING, f"looking version {version} over again")


def reverify_with_current_check(deployment: DeploymentPlan, version: int) -> Outlook | None:
    """Have files verified again that were verified when the host had another check of its own; None when they were not.

    The unit tells what it is for: the registry may be away, or want another version.
    """
    verify = names.verify_unit(deployment.name, version)
    facts = deployment.seen.files[verify].facts if verify in deployment.seen.files else NO_FACTS
    if facts.source is None or facts.environment is None or facts.check is None:
        return None
    render = _verification(deployment, version, facts.source, facts.environment)
    if facts.check == render.facts.check:
        return None
    stop_watching(deployment, version)
    unit = deployment.seen.unit(verify)
    if unit.has_finished_well:
        deployment.stop(verify)
    elif unit.is_down:
        deployment.write(render)
        deployment.start(verify)
    return deployment.outlook(State.PREPARING, version, Reason.VERIFYING, f"verifying version {version}")


def reverify_and_repair(deployment: DeploymentPlan, version: int, environment: str | None) -> Outlook | None:
    """Have the files of a release that is here verified, and made anew if that fails; None when they are as they were.

    Nothing but the units is needed for it: the registry may be away, or want another version.
    """
    verify = names.verify_unit(deployment.name, version)
    steps = [(Step.FETCH, names.fetch_unit(deployment.name, version))]
    if environment and environment != names.HOST_ENVIRONMENT:
        steps.append((Step.BUILD, names.build_unit(environment)))
    if outlook := reverify_with_current_check(deployment, version):
        return outlook
    deployment.restore_files([verify, *(unit for _, unit in steps)])
    unit = deployment.seen.unit(verify)
    underway = deployment.outlook(State.PREPARING, version, Reason.VERIFYING, f"verifying version {version}")
    if unit.has_finished_well:
        return None
    stop_watching(deployment, version)
    if unit.active != "failed":
        if unit.is_down:
            deployment.start(verify)
        return underway
    made = max(deployment.seen.unit(name).since for _, name in steps)
    if verify in deployment.inputs.retry_later and made <= unit.ended < made + LATELY:
        return deployment.blocked(version, Reason.VERIFY_FAILED, deployment.inputs.retry_later[verify])
    for step, name in steps:
        if outlook := _redo_step(deployment, version, step, name, unit.ended):
            return outlook
    deployment.start(verify)
    return underway


def _redo_step(deployment: DeploymentPlan, version: int, step: Step, name: str, after: float) -> Outlook | None:
    """Have a step done that was last done before the moment `after`; None when it was done since."""
    unit = deployment.seen.unit(name)
    if unit.has_finished_well and unit.since > after:
        return None
    if unit.active == "failed" and name in deployment.inputs.retry_later:
        return deployment.blocked(version, FAILED[step], deployment.inputs.retry_later[name])
    if unit.has_finished_well:
        deployment.stop(name)
    elif unit.is_down:
        deployment.start(name)
    return deployment.outlook(State.PREPARING, version, DOING[step], f"looking version {version} over again")
