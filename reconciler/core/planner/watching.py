"""The part of the plan that has systemd watch the verified files of a version, so that every change is noticed.

A path unit watches. At the first change it starts the instance of a shipped unit, which stays active to say so.
"""

from reconciler.core.planner import unit_values
from reconciler.core.planner.deployment_plan import DeploymentPlan
from reconciler.core.units import names


def watch_files(deployment: DeploymentPlan, version: int, environment: str) -> None:
    """Add the actions that have systemd watch the files of a version and of its environment.

    The unit is rendered anew when it would have another content, and started when it does not run.
    """
    unit = names.watch_unit(deployment.name, version)
    file = deployment.seen.files.get(unit)
    # A unit of an older version of this product is rendered anew, like one for another environment.
    digest = unit_values.digest_of_watch(deployment.name, version, environment)
    is_as_rendered = file is not None and file.facts.digest == digest
    if is_as_rendered:
        deployment.restore_files([unit])
    else:
        deployment.write(unit_values.watch(deployment.name, version, environment))
    # One that could not be started lately is left alone until its time comes.
    may_start = unit not in deployment.inputs.retry_later
    if deployment.seen.unit(unit).is_down and may_start:
        deployment.start(unit)


def stop_watching(deployment: DeploymentPlan, version: int) -> bool:
    """Add the stop of the path unit that watches a version's files. Return True when it is stopped.

    Invariant: a change that the unit noticed already is not lost. The sign of it is removed only together with the
    verification, so that the files count as not verified from then on.
    """
    is_stopped = deployment.stop(names.watch_unit(deployment.name, version))
    has_no_sign = deployment.stop(names.changed_unit(deployment.name, version))
    if not has_no_sign:
        deployment.stop(names.verify_unit(deployment.name, version))
    return is_stopped and has_no_sign


def has_noticed_a_change(deployment: DeploymentPlan, version: int) -> bool:
    """Whether somebody changed the files of a version since they were watched.

    True until `stop_watching` has taken the sign of it away.
    """
    sign = deployment.seen.unit(names.changed_unit(deployment.name, version))
    return not sign.is_down
