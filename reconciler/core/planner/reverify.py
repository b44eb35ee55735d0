"""The part of the plan that sees to it that the files of what serves stay as they were verified."""

from reconciler.core.planner import unit_values
from reconciler.core.planner.deployment_plan import Draft
from reconciler.core.planner.prepare import as_set, restore, stop_watching
from reconciler.core.state.status import Outlook
from reconciler.core.units import names


def look_after(draft: Draft, version: int, environment: str | None) -> Outlook | None:
    """Have files verified again when their time has come or somebody changed them; None when they are as they were."""
    verify = names.verify_unit(draft.name, version)
    if outlook := as_set(draft, version):
        return outlook
    draft.mend([names.fetch_unit(draft.name, version), verify])
    seen = draft.seen.unit(verify)
    if (interval := draft.situation.keeping.verify_interval) == 0 and seen.active != "failed":
        stop_watching(draft, version)
        return None
    if not draft.seen.unit(names.changed_unit(draft.name, version)).is_down and seen.has_finished_well:
        stop_watching(draft, version)
        if not _is_built_again(draft, environment or names.HOST_ENVIRONMENT, seen.since):
            draft.mends.append(f"verified the files of version {version}, which somebody changed")
    elif seen.has_finished_well and draft.situation.now >= seen.since + interval:
        draft.stop(verify)
    elif seen.has_finished_well:
        draft.deadlines.append(seen.since + interval)
        _watch(draft, version, environment or names.HOST_ENVIRONMENT)
    elif verify in draft.seen.files:
        return restore(draft, version, environment)
    return None


def _is_built_again(draft: Draft, environment: str, since: float) -> bool:
    """Whether an environment was given back to its build since a moment, for another deployment: nobody's damage."""
    build = draft.seen.unit(names.build_unit(environment))
    return build.active == "activating" or build.since > since


def _watch(draft: Draft, version: int, environment: str) -> None:
    """Have systemd tell when somebody changes the files that were verified."""
    render = unit_values.watch(draft.name, version, environment)
    file = draft.seen.files.get(render.unit)
    if file is None or file.facts.digest != render.facts.digest:
        draft.write(render)
    else:
        draft.mend([render.unit])
    if draft.seen.unit(render.unit).is_down and render.unit not in draft.situation.holds:
        draft.start(render.unit)
