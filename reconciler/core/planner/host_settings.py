"""What a change of this host's settings alone leaves as it is: a release that serves.

It takes today's settings with the next promotion, with another tag, or when an operator says `reconciler rollout`. So
an edit of a settings file never restarts all models of a host at once.
"""

from reconciler.core.planner import unit_values
from reconciler.core.planner.cleanup import stop_unneeded
from reconciler.core.planner.deployment_plan import DeploymentPlan
from reconciler.core.planner.deployment_view import DeploymentView
from reconciler.core.planner.rollout import advance
from reconciler.core.planner.target import as_it_is
from reconciler.core.state.reason import Reason
from reconciler.core.state.release import Release
from reconciler.core.state.status import Outlook, State
from reconciler.core.units.names import ReleaseId

CHANGED = (
    "it runs as it was rolled out, and the settings of this host, or their defaults, have changed since; "
    "the next promotion takes them, or reconciler rollout {name}"
)


def of_former_settings(deployment: DeploymentView, release: Release) -> ReleaseId | None:
    """Return the active release if nothing but this host's settings makes it differ from the desired one.

    None when it is the desired one, when it does not serve, or when the registry or an operator asked for a change.
    """
    active = deployment.active_release
    if active is None or active == release.id:
        return None
    # A rejected release may serve still, until another one does. Then it is no reason to stay.
    is_rejected = deployment.record.rejection(active) is not None
    serves = deployment.serving_release == active
    if is_rejected or not serves:
        return None
    has_the_version = active.version == release.version
    if has_the_version and _was_asked_for(deployment, active, release):
        return active
    return None


def go_on_with_former_settings(deployment: DeploymentPlan, release: Release, active: ReleaseId) -> Outlook:
    """Plan that the active release goes on serving as it was rolled out, and return its status.

    Its rollout follows today's settings, which need no other release. So some of its servers may go, but none may
    come: more servers would need units, and these would be rendered with today's settings.
    """
    target = as_it_is(deployment, active, release.rollout)
    outlook = advance(deployment, target)
    stop_unneeded(deployment, target)
    # Any other state, and any other reason, is more important than this one.
    is_at_rest = outlook.state in (State.SERVING, State.IDLE)
    if outlook.reason or not is_at_rest:
        return outlook
    why = CHANGED.format(name=deployment.name)
    return outlook.model_copy(update={"reason": Reason.SETTINGS_CHANGED, "message": why})


def _was_asked_for(deployment: DeploymentView, active: ReleaseId, release: Release) -> bool:
    """Whether the registry and operators asked for the active release in the same words as for the desired one.

    The words are the source, the tags, and how often an operator asked for a rollout (`Release.asked`).
    """
    facts = deployment.facts(active)
    if facts.asked is not None:
        return facts.asked == release.asked
    # Rendered by a version of this product that did not write it down: the source says nearly as much.
    has_the_source = facts.source in (None, unit_values.source_of(release))
    return has_the_source and release.generation == 0
