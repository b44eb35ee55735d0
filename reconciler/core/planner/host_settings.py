"""What a change of this host's settings alone leaves as it is: a release that serves.

It takes today's settings with the next promotion, with another tag, or when a person says `reconciler rollout`.
"""

from reconciler.core.planner import unit_values
from reconciler.core.planner.deployment_plan import Draft
from reconciler.core.state.release import Release
from reconciler.core.units import names

CHANGED = (
    "it runs as it was rolled out, and the settings of this host have changed since; the next promotion takes them, or "
    "reconciler rollout {name}"
)


def runs_by_former_settings(draft: Draft, want: Release) -> bool:
    """Whether what serves differs from what is wanted in nothing that the registry or a person asked for."""
    active = draft.active_release
    if active is None or active == want.id or draft.record.rejection(active) or not _serves(draft, active):
        return False
    if names.release_version(active) != want.version:
        return False
    asked = draft.fact(active, "Asked")
    if asked is not None:
        return asked == want.asked
    # Rendered by a version of this product that did not write it down.
    return draft.fact(active, "Source") in (None, unit_values.source_of(want)) and want.generation == 0


def _serves(draft: Draft, active: str) -> bool:
    return draft.serving_release == active or draft.is_idle(active)
