"""The part of the plan that keeps the files of releases on this host as they were verified.

Files are verified again when the interval is over, when somebody changed them, when the host's own check is another
one, and when a server failed. A verification that fails has the files fetched and built again. Nothing but the units
is needed for that: the registry may be away, or select another version.
"""

from collections.abc import Sequence
from typing import NamedTuple

from reconciler.core.planner import unit_values
from reconciler.core.planner.deployment_plan import DeploymentPlan
from reconciler.core.planner.watching import has_noticed_a_change, stop_watching, watch_files
from reconciler.core.state.reason import DOING, FAILED, Reason
from reconciler.core.state.status import Outlook, State
from reconciler.core.units import names
from reconciler.core.units.names import Step
from reconciler.core.units.unit_facts import NO_FACTS

REPAIR_IS_NO_HELP = 660.0
"""Seconds. If files that were made less than this before fail the verification again, nobody tampered with them, and
making them once more would not help."""


class _StepToRedo(NamedTuple):
    """A step that made a part of the files, and the unit that takes it."""

    step: Step
    unit: str


def verify_again(deployment: DeploymentPlan, version: int) -> Outlook:
    """Plan that the files of a release are verified before anything else is tried with them. Return the status.

    A stopped verification counts as not done; a later pass starts it.
    """
    deployment.stop(names.verify_unit(deployment.name, version))
    message = f"checking the files of version {version} again"
    return deployment.outlook(State.PREPARING, version, Reason.VERIFYING, message)


def reverify_when_due(deployment: DeploymentPlan, version: int, environment: str | None) -> Outlook | None:
    """Plan that the files of a serving release are verified when it is time, or when somebody changed them.

    Return the status while files are verified or made again. None while they are as they were verified; and in the
    pass that finds out that it is time. `environment` is what the release's servers say, None where they do not.
    """
    outlook = reverify_with_current_check(deployment, version)
    if outlook is not None:
        return outlook
    verify = names.verify_unit(deployment.name, version)
    deployment.restore_files([names.fetch_unit(deployment.name, version), verify])
    seen, interval = deployment.seen.unit(verify), deployment.inputs.verify_interval
    # Without an interval nothing is verified unasked, and nothing watched. A failure is made good all the same.
    is_never_due = interval == 0 and seen.active != "failed"
    if is_never_due:
        stop_watching(deployment, version)
        return None
    if not seen.has_finished_well:
        # Without its unit, nothing can be verified.
        is_known = verify in deployment.seen.files
        return reverify_and_repair(deployment, version, environment) if is_known else None
    environment_id = environment or names.HOST_ENVIRONMENT
    due = seen.since + interval
    if has_noticed_a_change(deployment, version):
        _verify_changed_files(deployment, version, environment_id)
    elif deployment.inputs.now >= due:
        deployment.stop(verify)
    else:
        deployment.deadlines.append(due)
        watch_files(deployment, version, environment_id)
    return None


def _verify_changed_files(deployment: DeploymentPlan, version: int, environment: str) -> None:
    """Plan that changed files are verified again. That is a repair, unless a build changed them.

    The end of the watch takes the verification with it, and a later pass starts both anew.
    """
    stop_watching(deployment, version)
    verified = deployment.seen.unit(names.verify_unit(deployment.name, version)).since
    if not _was_built_since(deployment, environment, verified):
        deployment.repairs.append(f"verified the files of version {version}, which somebody changed")


def _was_built_since(deployment: DeploymentPlan, environment: str, since: float) -> bool:
    """Whether an environment is being built, or was built after a moment: then another deployment needed that.

    Deployments share environments, so a build for one of them changes files of the others. That is nobody's damage.
    """
    # The host's own environment has no such unit, and a unit that never ran has never been active.
    build = deployment.seen.unit(names.build_unit(environment))
    return build.active == "activating" or build.since > since


def reverify_with_current_check(deployment: DeploymentPlan, version: int) -> Outlook | None:
    """Plan that files are verified again which were verified with another check than the host has now.

    Return the status until the verification with today's check is started, then None. Also None where nothing says
    what was verified: there is no verify unit, or an older version of this product rendered it.
    """
    verify = names.verify_unit(deployment.name, version)
    file, unit = deployment.seen.files.get(verify), deployment.seen.unit(verify)
    # The unit says what it verified. The registry is not asked, and may select another version by now.
    facts = file.facts if file is not None else NO_FACTS
    if facts.source is None or facts.environment is None or facts.check is None:
        return None
    if facts.check == unit_values.check_of(deployment.inputs.steps):
        return None
    files = unit_values.Files(deployment.name, version, facts.source, facts.environment)
    render = unit_values.verify(files, deployment.inputs.steps)
    stop_watching(deployment, version)
    # A unit that runs just now ends first: its result would be taken for that of today's check.
    if unit.has_finished_well:
        deployment.stop(verify)
    elif unit.is_down:
        deployment.write(render)
        deployment.start(verify)
    return _verifying(deployment, version)


def reverify_and_repair(deployment: DeploymentPlan, version: int, environment: str | None) -> Outlook | None:
    """Plan that the files of a release that is on this host are verified, and made again if that fails.

    Return the status until the verification has finished well, then None. `environment` is what the release's servers
    say; None and the host's own environment are not built.
    """
    outlook = reverify_with_current_check(deployment, version)
    if outlook is not None:
        return outlook
    verify = names.verify_unit(deployment.name, version)
    steps = _steps_that_made(deployment, version, environment)
    deployment.restore_files([verify, *(step.unit for step in steps)])
    unit = deployment.seen.unit(verify)
    if unit.has_finished_well:
        return None
    # A verification, and even more a repair, touches the files itself: nobody has to be told of that.
    stop_watching(deployment, version)
    if unit.active == "failed":
        return _repair(deployment, version, steps)
    if unit.is_down:
        deployment.start(verify)
    return _verifying(deployment, version)


def _steps_that_made(deployment: DeploymentPlan, version: int, environment: str | None) -> list[_StepToRedo]:
    """Return the steps that made the files of a version, in the order in which they are taken.

    The host's own environment was made by nobody here, so no step can make it again.
    """
    fetch = _StepToRedo(Step.FETCH, names.fetch_unit(deployment.name, version))
    if not environment or environment == names.HOST_ENVIRONMENT:
        return [fetch]
    return [fetch, _StepToRedo(Step.BUILD, names.build_unit(environment))]


def _repair(deployment: DeploymentPlan, version: int, steps: Sequence[_StepToRedo]) -> Outlook:
    """Plan that the files of a version are made again, step by step, and then verified: the verification failed.

    Each step keeps what is as it should be. So only the damage is made good.
    """
    verify = names.verify_unit(deployment.name, version)
    failed = deployment.seen.unit(verify).ended
    made = max(deployment.seen.unit(step.unit).since for step in steps)
    # The files may also have been made after the failure: then the verification has not seen them yet.
    is_no_help = made <= failed < made + REPAIR_IS_NO_HELP
    if is_no_help and verify in deployment.inputs.retry_later:
        return deployment.blocked(version, Reason.VERIFY_FAILED, deployment.inputs.retry_later[verify])
    # One after the other: a build may need what the fetch brings.
    for step in steps:
        outlook = _redo_step(deployment, version, step, failed)
        if outlook is not None:
            return outlook
    deployment.start(verify)
    return _verifying(deployment, version)


def _redo_step(deployment: DeploymentPlan, version: int, step: _StepToRedo, since: float) -> Outlook | None:
    """Plan that a step is done again. Return the status until it has finished well after the moment `since`, then None.

    A step that is done is stopped first, and started in a later pass: a start of a unit that is active does nothing.
    """
    unit = deployment.seen.unit(step.unit)
    is_done_again = unit.has_finished_well and unit.since > since
    if is_done_again:
        return None
    if unit.active == "failed" and step.unit in deployment.inputs.retry_later:
        return deployment.blocked(version, FAILED[step.step], deployment.inputs.retry_later[step.unit])
    if unit.has_finished_well:
        deployment.stop(step.unit)
    elif unit.is_down:
        deployment.start(step.unit)
    message = f"checking the files of version {version} again"
    return deployment.outlook(State.PREPARING, version, DOING[step.step], message)


def _verifying(deployment: DeploymentPlan, version: int) -> Outlook:
    """Return the status while the files of a version are verified.

    The version is told as the desired one: a caller that prepares another one replaces it.
    """
    return deployment.outlook(State.PREPARING, version, Reason.VERIFYING, f"verifying version {version}")
