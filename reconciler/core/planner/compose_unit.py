"""The part of the plan for the unit under whose name people know a model's containers.

Servers in containers are parts of it, and systemd starts it with the first of them. It is here as long as any of them
has a unit.
"""

from reconciler.core.planner import actions as act
from reconciler.core.planner import unit_values
from reconciler.core.planner.compose_values import ComposeSettings, engine_values
from reconciler.core.planner.deployment_plan import DeploymentPlan
from reconciler.core.state.release import COMPOSE
from reconciler.core.units import names
from reconciler.core.units.names import parse_server


def plan_compose_unit(deployment: DeploymentPlan) -> None:
    """Plan the unit for a deployment with servers in containers, or its end for one without."""
    unit = names.compose_unit(deployment.name)
    if unit in deployment.seen.foreign:
        return
    if _has_servers_in_containers(deployment):
        _keep(deployment)
    elif unit in deployment.seen.files and deployment.stop(unit):
        deployment.before.append(act.Remove(deployment.name, unit))


def _has_servers_in_containers(deployment: DeploymentPlan) -> bool:
    renders = [action for action in deployment.before if isinstance(action, act.Render)]
    planned = [render.facts for render in renders if parse_server(render.unit) is not None]
    there = [deployment.facts(release) for release in deployment.releases()]
    return any(facts.runtime == COMPOSE for facts in (*planned, *there))


def _keep(deployment: DeploymentPlan) -> None:
    render = render_compose_unit(deployment.name, deployment.inputs.compose)
    file = deployment.seen.files.get(render.unit)
    if file is None or file.facts.digest != render.facts.digest:
        deployment.write(render)
    else:
        deployment.restore_files([render.unit])


def render_compose_unit(name: str, settings: ComposeSettings) -> act.Render:
    """The unit under whose name people know a model's containers."""
    values = {**engine_values(settings), "name": name, "slice": names.slice_unit(name)}
    return unit_values.render(name, names.compose_unit(name), "compose/docker-compose-model.service.j2", values)
