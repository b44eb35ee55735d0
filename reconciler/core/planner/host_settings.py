"""What a change of this host's settings alone leaves as it is: a release that serves.

It takes today's settings with the next promotion, with another tag, or when a person says `reconciler rollout`.
"""

from reconciler.core.planner import unit_values
from reconciler.core.planner.deployment_plan import Draft
from reconciler.core.state.release import Release
from reconciler.core.units.names import ReleaseId

CHANGED = (
    "it runs as it was rolled out, and the settings of this host have changed since; the next promotion takes them, or "
    "reconciler rollout {name}"
)


def of_former_settings(draft: Draft, want: Release) -> ReleaseId | None:
    """The active release, if it differs from the wanted one in nothing that the registry or a person asked for."""
    active = draft.active_release
    if active is None or active == want.id or draft.record.rejection(active) or not _serves(draft, active):
        return None
    if active.version != want.version:
        return None
    return active if _was_asked_for(draft, active, want) else None


def _was_asked_for(draft: Draft, active: ReleaseId, want: Release) -> bool:
    """Whether the registry and people asked for the active release in the same words."""
    asked = draft.facts(active).asked
    if asked is not None:
        return asked == want.asked
    # Rendered by a version of this product that did not write it down.
    return draft.facts(active).source in (None, unit_values.source_of(want)) and want.generation == 0


def _serves(draft: Draft, active: ReleaseId) -> bool:
    return draft.serving_release == active or draft.is_idle(active)
