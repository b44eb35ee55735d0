"""The part of the plan that sees to it that the files of what serves stay as they were verified."""

from reconciler.core.planner import unit_values
from reconciler.core.planner.deployment_plan import DeploymentPlan
from reconciler.core.planner.prepare import reverify_and_repair, reverify_with_current_check, stop_watching
from reconciler.core.state.status import Outlook
from reconciler.core.units import names


def reverify_when_due(deployment: DeploymentPlan, version: int, environment: str | None) -> Outlook | None:
    """Have files verified again when their time has come or somebody changed them; None when they are as they were."""
    verify = names.verify_unit(deployment.name, version)
    if outlook := reverify_with_current_check(deployment, version):
        return outlook
    deployment.restore_files([names.fetch_unit(deployment.name, version), verify])
    seen = deployment.seen.unit(verify)
    if (interval := deployment.inputs.verify_interval) == 0 and seen.active != "failed":
        stop_watching(deployment, version)
        return None
    if not deployment.seen.unit(names.changed_unit(deployment.name, version)).is_down and seen.has_finished_well:
        stop_watching(deployment, version)
        if not _is_built_again(deployment, environment or names.HOST_ENVIRONMENT, seen.since):
            deployment.repairs.append(f"verified the files of version {version}, which somebody changed")
    elif seen.has_finished_well and deployment.inputs.now >= seen.since + interval:
        deployment.stop(verify)
    elif seen.has_finished_well:
        deployment.deadlines.append(seen.since + interval)
        _watch(deployment, version, environment or names.HOST_ENVIRONMENT)
    elif verify in deployment.seen.files:
        return reverify_and_repair(deployment, version, environment)
    return None


def _is_built_again(deployment: DeploymentPlan, environment: str, since: float) -> bool:
    """Whether an environment was given back to its build since a moment, for another deployment: nobody's damage."""
    build = deployment.seen.unit(names.build_unit(environment))
    return build.active == "activating" or build.since > since


def _watch(deployment: DeploymentPlan, version: int, environment: str) -> None:
    """Have systemd tell when somebody changes the files that were verified."""
    render = unit_values.watch(deployment.name, version, environment)
    file = deployment.seen.files.get(render.unit)
    if file is None or file.facts.digest != render.facts.digest:
        deployment.write(render)
    else:
        deployment.restore_files([render.unit])
    if deployment.seen.unit(render.unit).is_down and render.unit not in deployment.inputs.retry_later:
        deployment.start(render.unit)
