"""The part of the plan that has a deployment's requests answered that come over NATS, by a unit of its own.

The bridge asks the deployment's address like any other client. So it goes on through every hand-over, and a rollout
need not know of it.
"""

from reconciler.core.planner import actions as act
from reconciler.core.planner.actions import Render
from reconciler.core.planner.bridge_values import bridge
from reconciler.core.planner.deployment_plan import DeploymentPlan
from reconciler.core.planner.deployment_view import MAX_MESSAGE, DeploymentView
from reconciler.core.state.release import Release
from reconciler.core.state.status import Outlook
from reconciler.core.text.quote import one_line
from reconciler.core.units import status_lines
from reconciler.core.units.failures import why_failed


def plan_bridge(deployment: DeploymentPlan, release: Release) -> None:
    """Plan the bridge of a deployment for which the registry selects a release.

    It begins when something serves for the first time, because what it takes from the broker is its to answer. From
    then on it runs, also while no server does: requests wait with the broker or in the bridge.
    """
    is_here = deployment.bridge in deployment.seen.files
    if not release.rollout.brokers:
        remove_bridge(deployment)
    elif is_here or deployment.serving_release is not None:
        _keep_running(deployment, release)


def remove_bridge(deployment: DeploymentPlan) -> bool:
    """Add the end of a deployment's bridge, and its removal when it is down. Return True when it is down.

    As long as it is not down it may answer what it has taken from the broker, so its server must not end before it.
    """
    unit = deployment.bridge
    if unit not in deployment.seen.files:
        return True
    deployment.disable([unit])
    is_down = deployment.stop(unit)
    # systemd disables only a unit that has its file.
    if is_down and unit not in deployment.seen.enabled:
        deployment.before.append(act.Remove(deployment.name, unit))
    return is_down


def tell_of_bridge(view: DeploymentView, outlook: Outlook) -> Outlook:
    """Add to a deployment's status what its bridge says, and to the message why it does not answer, if so."""
    words = _words(view)
    if not words:
        return outlook
    trouble = status_lines.bridge_trouble(words)
    message = "; ".join(filter(None, (outlook.message, f"NATS: {trouble}" if trouble else "")))
    return outlook.model_copy(update={"nats": words, "message": message})


def _words(view: DeploymentView) -> str:
    """Return what the bridge says, or what systemd says of one that does not run; "" where there is none."""
    if view.bridge not in view.seen.files:
        return ""
    seen = view.seen.unit(view.bridge)
    if seen.is_up:
        return one_line(seen.words, MAX_MESSAGE) or status_lines.BRIDGE_STARTS
    has_ended = seen.active == "failed" or seen.ends > 0
    return one_line(why_failed(seen), MAX_MESSAGE) if has_ended else status_lines.BRIDGE_STARTS


def _keep_running(deployment: DeploymentPlan, release: Release) -> None:
    """Plan that the bridge runs as the settings say."""
    inputs = deployment.inputs
    render = bridge(deployment.name, release.rollout.brokers, inputs.bridge, inputs.listening.socket_group)
    file = deployment.seen.files.get(deployment.bridge)
    has_these_settings = file is not None and file.facts.digest == render.facts.digest
    if not has_these_settings:
        _renew(deployment, render)
        return
    deployment.restore_files([deployment.bridge])
    is_enabled = deployment.bridge in deployment.seen.enabled
    if not is_enabled:
        deployment.after.append(act.Enable(deployment.name, deployment.bridge))
    seen = deployment.seen.unit(deployment.bridge)
    may_start = deployment.bridge not in inputs.retry_later
    if seen.is_down and may_start:
        deployment.start(deployment.bridge)
        # One that is not enabled was never started.
        if seen.active == "inactive" and is_enabled:
            deployment.note_repair(deployment.bridge, "started")


def _renew(deployment: DeploymentPlan, render: Render) -> None:
    """Plan that the bridge ends, when it has answered what it took, and then begins with other settings."""
    is_down = deployment.stop(deployment.bridge)
    if not is_down:
        return
    deployment.write(render)
    if deployment.bridge not in deployment.seen.enabled:
        deployment.after.append(act.Enable(deployment.name, deployment.bridge))
    deployment.start(deployment.bridge)
