"""What a change of this host's settings alone leaves as it is: a release that serves.

It takes today's settings with the next promotion, with another tag, or when a person says `reconciler rollout`.
"""

from reconciler.core.planner import unit_values
from reconciler.core.planner.deployment_view import DeploymentView
from reconciler.core.state.release import Release
from reconciler.core.units.names import ReleaseId

CHANGED = (
    "it runs as it was rolled out, and the settings of this host have changed since; the next promotion takes them, or "
    "reconciler rollout {name}"
)


def of_former_settings(deployment: DeploymentView, release: Release) -> ReleaseId | None:
    """The active release, if it differs from the wanted one in nothing that the registry or a person asked for."""
    active = deployment.active_release
    if active is None or active == release.id or deployment.record.rejection(active) or not _serves(deployment, active):
        return None
    if active.version != release.version:
        return None
    return active if _was_asked_for(deployment, active, release) else None


def _was_asked_for(deployment: DeploymentView, active: ReleaseId, release: Release) -> bool:
    """Whether the registry and people asked for the active release in the same words."""
    asked = deployment.facts(active).asked
    if asked is not None:
        return asked == release.asked
    # Rendered by a version of this product that did not write it down.
    return deployment.facts(active).source in (None, unit_values.source_of(release)) and release.generation == 0


def _serves(deployment: DeploymentView, active: ReleaseId) -> bool:
    return deployment.serving_release == active or deployment.is_idle(active)
