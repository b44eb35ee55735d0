"""The planner: from what is wanted and what is observed to an ordered list of actions and a word on each deployment."""

from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.core import actions as act
from reconciler.core import names
from reconciler.core.actions import Action
from reconciler.core.draft import Draft, Situation, clean
from reconciler.core.observed import Observed
from reconciler.core.release import Refused, Release
from reconciler.core.rollout import bring_up, keep_serving
from reconciler.core.status import Outlook, State

Wanted = Mapping[str, Release | Refused]


@dataclass(frozen=True)
class Plan:
    """Ordered actions, and what to tell about each deployment."""

    actions: tuple[Action, ...]
    outlooks: tuple[Outlook, ...]


def plan(wanted: Wanted, seen: Observed, situation: Situation) -> Plan:
    """Decide what to do next. Computing it touches nothing; doing it and asking again converges to no actions."""
    shared: dict[str, act.Render] = {}
    before: list[Action] = []
    after: list[Action] = []
    outlooks = []
    for name in sorted(_observed(seen) | set(wanted)):
        paused = name in situation.paused
        draft = Draft(name, seen, situation, dict(shared) if paused else shared)
        outlooks.append(_plan_one(draft, wanted.get(name)))
        if not paused:
            before += draft.before
            after += draft.after
    starting = {action.unit for action in after}
    before += [
        action for action in _collect_environments(wanted, seen, starting) if action.unit not in situation.paused
    ]
    changed = any(isinstance(action, act.CHANGES_FILES) for action in before)
    reload = [act.Reload("", "")] if changed or situation.reload_due else []
    return Plan((*before, *reload, *after), tuple(outlooks))


def _observed(seen: Observed) -> set[str]:
    return {name for unit in seen.files if (name := names.deployment_of(unit))}


def _plan_one(draft: Draft, want: Release | Refused | None) -> Outlook:
    if want is None:
        return _take_down(draft)
    if isinstance(want, Refused):
        keep_serving(draft, None)
        return draft.blocked(want.version, "refused", want.why)
    return bring_up(draft, want)


def without_snapshot(seen: Observed, situation: Situation) -> Plan:
    """Decide nothing about anything, and tell what is there: no snapshot is not an empty one."""
    why = "no snapshot of the registry was ever accepted, so nothing is changed"
    drafts = [Draft(name, seen, situation, {}) for name in sorted(_observed(seen))]
    return Plan(
        (),
        tuple(
            draft.outlook(State.SERVING if draft.serving_release else State.PENDING, None, "no-snapshot", why)
            for draft in drafts
        ),
    )


def _take_down(draft: Draft) -> Outlook:
    """Stop everything of a deployment, then have systemd remove its directory, then forget its units."""
    files = draft.files()
    draft.before += [act.Disable(draft.name, unit) for unit in files if unit in draft.seen.enabled]
    slices = [unit for unit in files if names.parse_slice(unit)]
    # The socket first: one that outlives its server would start it again.
    others = sorted(set(files) - set(slices), key=lambda unit: (unit != draft.socket, unit))
    others_down = [draft.stop(unit) for unit in others]
    slices_down = [all(others_down) and draft.stop(unit) for unit in slices]
    if all(others_down + slices_down):
        draft.before.append(act.Clean(draft.name, names.directory_unit(draft.name)))
        draft.before += [act.Remove(draft.name, unit) for unit in files]
    return draft.outlook(State.REMOVING, None, "not-selected", "the registry no longer selects it")


def _collect_environments(wanted: Wanted, seen: Observed, starting: set[str]) -> list[Action]:
    """Have systemd remove the environments that no server names and no release is being prepared for."""
    used = {file.facts.get("Environment") for unit, file in seen.files.items() if names.parse_server(unit)}
    for want in wanted.values():
        if isinstance(want, Release):
            used.add(seen.unit(names.fetch_unit(want.name, want.version)).environment)
    found: list[Action] = []
    for unit in sorted(seen.files):
        environment = names.parse_build(unit)
        if environment is None or environment in used or unit in starting:
            continue
        state = seen.unit(unit)
        if state.active == "failed":
            found.append(act.ResetFailed("", unit))
        if state.is_down:
            found += clean("", unit, seen.files[unit])
        elif not state.is_going_down:
            found.append(act.Stop("", unit))
    return found
