"""The part of the plan that has a deployment's requests answered that come over NATS, by a unit of its own.

The bridge asks the deployment's address like any other client. So it goes on through every hand-over, and a rollout
need not know of it.

Before there was this product, a unit that people made by hand may have answered the same requests. It is left alone,
and no bridge begins, until a person says that the deployment takes its place (docs/adr/0030).
"""

from reconciler.core.planner import actions as act
from reconciler.core.planner.actions import Render
from reconciler.core.planner.bridge_values import bridge
from reconciler.core.planner.compose_values import takes_requests_itself
from reconciler.core.planner.deployment_plan import DeploymentPlan
from reconciler.core.planner.deployment_view import MAX_MESSAGE, DeploymentView
from reconciler.core.state.release import Release
from reconciler.core.state.status import Outlook
from reconciler.core.text.quote import one_line
from reconciler.core.units import names, status_lines
from reconciler.core.units.failures import why_failed
from reconciler.core.units.unit_facts import NO_FACTS, UnitFacts

Brokers = tuple[str, ...]


def plan_bridge(deployment: DeploymentPlan, release: Release) -> None:
    """Plan the bridge of a deployment for which the registry selects a release.

    It begins when something serves for the first time, because what it takes from the broker is its to answer. From
    then on it runs, also while no server does: requests wait with the broker or in the bridge.
    """
    if deployment.bridge in deployment.seen.foreign:
        return
    is_here = deployment.bridge in deployment.seen.files
    if not _wants_bridge(deployment, release) or _is_anothers(deployment):
        remove_bridge(deployment)
    elif is_here or deployment.serving_release is not None:
        _keep_running(deployment, release.rollout.brokers)


def keep_bridge(deployment: DeploymentPlan) -> None:
    """Plan that the bridge goes on as it is, while a change of its deployment waits for an operator.

    What a person says of a unit made by hand does not wait: both would answer one request otherwise.
    """
    if deployment.bridge in deployment.seen.foreign:
        return
    file = deployment.seen.files.get(deployment.bridge)
    if _is_anothers(deployment):
        remove_bridge(deployment)
    elif file is not None and deployment.bridge in deployment.seen.enabled:
        _keep_as_it_is(deployment, file.facts)
    # One that is not enabled is on its way out.
    elif file is None and _was_adopted_meanwhile(deployment):
        # Which brokers the tags of the serving version name is not known any more.
        _keep_running(deployment, deployment.inputs.rollout.brokers)


def brokers_change(view: DeploymentView, release: Release) -> bool:
    """Whether requests are to be taken from other brokers than now: from any for the first time, or from none any more.

    That of a unit made by hand is no such change: an operator says so by name.
    """
    if view.bridge in view.seen.foreign:
        return False
    file = view.seen.files.get(view.bridge)
    if file is not None:
        # One of which nobody knows the brokers, because somebody edited its file, is restored.
        return file.facts.brokers not in ((), release.rollout.brokers)
    is_missed = view.bridge in view.seen.enabled or view.record.adopted is not None
    begins = _wants_bridge(view, release) and view.serving_release is not None and not _is_anothers(view)
    return begins and not is_missed


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


def tell_of_bridge(view: DeploymentView, release: Release | None, outlook: Outlook) -> Outlook:
    """Add to a deployment's status what its bridge says, and to the message why it does not answer, if so.

    `release` is what the registry selects, None where that is nothing that this host accepts.
    """
    words = _words(view)
    trouble = status_lines.bridge_trouble(words)
    if release is not None and _wants_bridge(view, release):
        trouble = _why_none(view) or trouble
    has_nothing_to_say = not words and not trouble
    if has_nothing_to_say:
        return outlook
    message = "; ".join(filter(None, (outlook.message, f"NATS: {trouble}" if trouble else "")))
    return outlook.model_copy(update={"nats": words, "message": message})


def _wants_bridge(view: DeploymentView, release: Release) -> bool:
    """Whether a release's requests over NATS are a bridge's to take. A container may take them by itself.

    What runs decides, not what is desired: while another release serves, and is asked by the bridge, that goes on.
    """
    if not release.rollout.brokers:
        return False
    if _asks_itself(view):
        return False
    serving = view.serving_release
    return serving is not None or not takes_requests_itself(release, view.inputs.compose)


def _asks_itself(view: DeploymentView) -> bool:
    """Whether a container that runs takes requests by itself."""
    return any(view.facts(one).asks_itself and view.running(one) for one in view.releases())


def _was_adopted_meanwhile(view: DeploymentView) -> bool:
    """Whether an operator said that the deployment answers, which has no bridge and could have one."""
    can_answer = view.serving_release is not None and not _asks_itself(view)
    return can_answer and view.record.adopted is not None and bool(view.inputs.rollout.brokers)


def wait_for_bridge(deployment: DeploymentPlan) -> None:
    """Put off the starts of servers whose containers take requests by themselves, until the bridge is down.

    Both at once would answer a request twice.
    """
    if deployment.bridge not in deployment.seen.files or deployment.seen.unit(deployment.bridge).is_down:
        return
    asking = {action.unit for action in deployment.after if isinstance(action, act.Start) and _asks(deployment, action)}
    if asking:
        remove_bridge(deployment)
        deployment.after = [action for action in deployment.after if action.unit not in asking]


def _asks(deployment: DeploymentPlan, action: act.Action) -> bool:
    render, file = deployment.shared.get(action.unit), deployment.seen.files.get(action.unit)
    facts = render.facts if render is not None else file.facts if file is not None else NO_FACTS
    return facts.asks_itself


def _is_anothers(view: DeploymentView) -> bool:
    """Whether a unit that somebody made by hand answers over NATS, and nobody said that this deployment should."""
    return view.record.adopted is None and _older_is_up(view)


def _older_is_up(view: DeploymentView) -> bool:
    older = names.compose_unit(view.name)
    return older in view.seen.foreign and not view.seen.unit(older).is_down


def _why_none(view: DeploymentView) -> str:
    """Say why there may be no bridge; "" when there may be one."""
    if view.bridge in view.seen.foreign:
        return f"cannot use the unit name {view.bridge}: somebody else's unit has it; move that unit away"
    if _is_anothers(view):
        older = names.compose_unit(view.name)
        return f"{older}, made by hand, answers; reconciler adopt {view.name} has this deployment answer"
    return ""


def _words(view: DeploymentView) -> str:
    """Return what the bridge says, or what systemd says of one that does not run; "" where there is none."""
    if view.bridge not in view.seen.files:
        return ""
    seen = view.seen.unit(view.bridge)
    if seen.active == "active":
        return one_line(seen.words, MAX_MESSAGE) or status_lines.BRIDGE_STARTS
    has_ended = seen.active == "failed" or seen.ends > 0
    return one_line(why_failed(seen), MAX_MESSAGE) if has_ended else status_lines.BRIDGE_STARTS


def _keep_running(deployment: DeploymentPlan, brokers: Brokers) -> None:
    """Plan that the bridge runs as the settings say."""
    beside = _belongs_beside(deployment)
    wanted, other = (_render(deployment, brokers, beside=mode) for mode in (beside, not beside))
    file = deployment.seen.files.get(deployment.bridge)
    digest = file.facts.digest if file is not None else None
    if digest == wanted.facts.digest:
        deployment.restore_files([deployment.bridge])
    elif digest == other.facts.digest:
        # For its next start. One that runs is told by a signal: between an end and a start, requests would be lost.
        deployment.write(wanted)
    else:
        _renew(deployment, wanted)
        return
    _stand(deployment, beside=beside)
    _keep_up(deployment)


def _keep_as_it_is(deployment: DeploymentPlan, facts: UnitFacts) -> None:
    """Plan that the bridge runs as its unit says, and leaves requests to a unit made by hand if an operator said so."""
    beside = _belongs_beside(deployment)
    wanted, other = (_render(deployment, facts.brokers, beside=mode) for mode in (beside, not beside))
    if facts.digest == other.facts.digest:
        deployment.write(wanted)
    else:
        deployment.restore_files([deployment.bridge])
    _stand(deployment, beside=beside)
    _keep_up(deployment)


def _stand(deployment: DeploymentPlan, *, beside: bool) -> None:
    """Tell the bridge whether it leaves requests to a unit made by hand."""
    if beside:
        deployment.stand_by([deployment.bridge])
    else:
        deployment.resume([deployment.bridge])


def _belongs_beside(view: DeploymentView) -> bool:
    """Whether the bridge leaves requests to a unit made by hand as long as that one answers them."""
    adopted = view.record.adopted
    return adopted is not None and (adopted.giving_back or _older_is_up(view))


def _render(deployment: DeploymentPlan, brokers: Brokers, *, beside: bool) -> Render:
    inputs = deployment.inputs
    group = inputs.listening.socket_group
    return bridge(deployment.name, brokers, inputs.bridge, group, beside=beside)


def _keep_up(deployment: DeploymentPlan) -> None:
    """Plan that the bridge is enabled and runs."""
    is_enabled = deployment.bridge in deployment.seen.enabled
    if not is_enabled:
        deployment.after.append(act.Enable(deployment.name, deployment.bridge))
    seen = deployment.seen.unit(deployment.bridge)
    may_start = deployment.bridge not in deployment.inputs.retry_later
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
