"""The planner: from what is wanted and what is observed to an ordered list of actions and a word on each deployment."""

from dataclasses import dataclass

from reconciler.core.planner import actions as act
from reconciler.core.planner import reused_version, step_limit
from reconciler.core.planner.actions import Action
from reconciler.core.planner.cleanup import let_go, take_down
from reconciler.core.planner.deployment_plan import Draft, Situation, clean
from reconciler.core.planner.flooding import kills
from reconciler.core.planner.guard import Wait, Wanted, agreement, waiting
from reconciler.core.planner.host_settings import CHANGED, of_former_settings
from reconciler.core.planner.overdue import end_what_is_overdue
from reconciler.core.planner.pins import lost, pins
from reconciler.core.planner.rollout import towards
from reconciler.core.planner.target import as_it_is, fallback, of_release
from reconciler.core.state.ledger import Rejected
from reconciler.core.state.reason import Reason
from reconciler.core.state.release import Refused, Release
from reconciler.core.state.status import Outlook, State
from reconciler.core.units import names
from reconciler.core.units.names import ReleaseId
from reconciler.core.units.observed import Observed


@dataclass(frozen=True)
class Plan:
    """Ordered actions, and what to tell about each deployment."""

    actions: tuple[Action, ...]
    outlooks: tuple[Outlook, ...]
    mended: frozenset[str] = frozenset()
    """Deployments of which something is mended that nobody asked the registry for."""
    deadline: float | None = None
    """When, on the monotonic clock, to plan again although nothing happened."""


def plan(wanted: Wanted, seen: Observed, situation: Situation) -> Plan:
    """Decide what to do next. Computing it touches nothing; doing it and asking again converges to no actions."""
    shared: dict[str, act.Render] = {}
    signals: list[act.Signal] = [*kills(seen, situation.ledger)]
    before: list[Action] = []
    after: list[Action] = []
    outlooks, mended, deadlines = [], set(), []
    waits = waiting(wanted, seen, situation)
    if agreed := agreement(wanted, seen, situation):
        before.append(act.Agree("", "", agreed))
    before += lost(seen, situation.ledger) + pins(seen, situation.ledger)
    before += reused_version.out_of_date(wanted, situation.ledger)
    before += [act.Unconfirm(name, "") for name in sorted(situation.ledger.prune_confirmed & set(wanted))]
    before += _forget_what_is_gone(wanted, seen, situation)
    # What could not be written is tried again later, like all else; at once, it would be tried without end.
    before = [one for one in before if (one.deployment or one.unit) not in situation.paused]
    for name in sorted({*seen.by_deployment, *wanted}):
        draft = Draft(name, seen, situation, dict(shared))
        outlooks.append(_plan_one(draft, wanted.get(name), waits.get(name)))
        signals += draft.signals
        deadlines += draft.deadlines
        if name in situation.paused:
            before += [one for one in draft.before if isinstance(one, act.SAFETY)]
        else:
            shared |= draft.shared if draft.before or draft.after else {}
            before += draft.before
            after += draft.after
            mended |= {name} if draft.mends else set()
    if late := step_limit.late(after, seen, situation):
        after = step_limit.without(late, after)
        outlooks = step_limit.told(late, outlooks, situation.parallel_steps)
    starting = {action.unit for action in after} | set(late)
    before += [
        action for action in _collect_environments(wanted, seen, starting) if action.unit not in situation.paused
    ]
    changed = any(isinstance(action, act.CHANGES_FILES) for action in before)
    reload = [act.Reload("", "")] if changed or situation.reload_due else []
    deadline = min(deadlines, default=None)
    urgent = [one for one in before if isinstance(one, act.SAFETY)]
    ordinary = [one for one in before if not isinstance(one, act.SAFETY)]
    actions = (*act.in_order(signals), *urgent, *ordinary, *reload, *after)
    return Plan(actions, tuple(outlooks), frozenset(mended), deadline)


def _forget_what_is_gone(wanted: Wanted, seen: Observed, situation: Situation) -> list[Action]:
    """Take note once more of removals that the disk did not take note of before the reconciler ended."""
    gone = {
        name: record for name, record in situation.ledger.records.items() if name not in {*seen.by_deployment, *wanted}
    }
    return [act.Forget(name, "") for name, record in sorted(gone.items()) if record != record.forget_deployment()]


def _plan_one(draft: Draft, want: Release | Refused | None, wait: Wait | None) -> Outlook:
    """Plan one deployment, as far as no person and no budget says that it is to be left alone."""
    version = want.version if want else None
    outlook = _decide(draft, want, wait)
    end_what_is_overdue(draft)
    stalled = draft.record.stalled
    if why := _left_alone(draft):
        outlook = draft.outlook(State.SUSPENDED, version, Reason.SUSPENDED, f"{why}{_drift(draft)}")
    elif stalled is not None and stalled.release == _id(want) and (want is not None or wait is not None):
        outlook = draft.outlook(State.STALLED, version, Reason.MENDED_TOO_OFTEN, stalled.message)
    elif draft.mends and draft.name in draft.situation.exhausted:
        why = (
            f"cannot keep {draft.name} as it should be: something undoes every repair (the last: {draft.mends[0]}); "
            f"find out what does, then reconciler retry {draft.name}"
        )
        draft.before, draft.after = [act.GiveUpMending(draft.name, "", _id(want), why)], []
        return draft.outlook(State.STALLED, version, Reason.MENDED_TOO_OFTEN, why)
    else:
        return outlook
    draft.signals, draft.before, draft.after, draft.mends, draft.deadlines = [], [], [], [], []
    return outlook


def _id(want: Release | Refused | None) -> str:
    return want.id if isinstance(want, Release) else f"refused {want.version}" if want else ""


def _left_alone(draft: Draft) -> str | None:
    """Who said that nothing is to be done to the deployment."""
    if suspended := draft.record.suspended:
        return suspended.sentence
    masked = [unit for unit in draft.files() if draft.seen.files[unit].masked]
    return f"suspended, because somebody masked {masked[0]}" if masked else None


def _drift(draft: Draft) -> str:
    """What is left undone."""
    undone = [
        str(action) for action in (*draft.signals, *draft.before, *draft.after) if not isinstance(action, act.Note)
    ]
    if not undone:
        return ""
    more = f" and {len(undone) - 3} more" if len(undone) > 3 else ""
    return f"; left undone: {', '.join(undone[:3])}{more}"


def _decide(draft: Draft, want: Release | Refused | None, wait: Wait | None) -> Outlook:
    """Plan one deployment."""
    if wait is not None:
        outlook, reason = _keep(draft, None), Reason.HELD if wait.removal else Reason.ANOTHER_SOURCE
        return outlook or draft.outlook(State.HELD, want.version if want else None, reason, wait.why)
    if want is None:
        return take_down(draft)
    if isinstance(want, Refused):
        if want.reason is Reason.NOT_ALLOWED and not draft.files():
            return draft.outlook(State.NOT_DEPLOYABLE, want.version, want.reason, want.why)
        return _instead(draft, want.version, None, want.reason, want.why)
    if foreign := [unit for unit in _units_of(draft, want) if unit in draft.seen.foreign]:
        why = f"cannot use the unit name {foreign[0]}: somebody else's unit has it; move that unit away"
        return draft.blocked(want.version, Reason.UNIT_NOT_OURS, why)
    if outlook := reused_version.replace(draft, want):
        return outlook
    if reused_version.is_taken(draft, want):
        return _instead(draft, want.version, None, Reason.NUMBER_USED_AGAIN, reused_version.why_taken(want))
    if rejected := _rejection(draft, want):
        return _instead_of_rejected(draft, want, rejected)
    if former := of_former_settings(draft, want):
        return _as_it_runs(draft, want, former)
    outlook = towards(draft, of_release(want))
    let_go(draft, of_release(want))
    return outlook


def _rejection(draft: Draft, want: Release) -> Rejected | None:
    """Why the wanted release is not tried: it failed here, or did so with other settings and something else serves."""
    if rejected := draft.record.rejection(want.id):
        return rejected
    others = draft.serving_release not in (None, want.id)
    return draft.record.rejection_of(want.version, want.asked) if others else None


def _as_it_runs(draft: Draft, want: Release, active: ReleaseId) -> Outlook:
    """Go on with the release that serves, as it was rolled out; some of its servers may go, since a number says so."""
    target = as_it_is(draft, active, want.rollout)
    outlook = towards(draft, target)
    let_go(draft, target)
    if outlook.state not in (State.SERVING, State.IDLE) or outlook.reason:
        return outlook
    why = CHANGED.format(name=draft.name)
    return outlook.model_copy(update={"reason": Reason.SETTINGS_CHANGED, "message": why})


def _units_of(draft: Draft, want: Release) -> list[str]:
    steps = [names.fetch_unit(want.name, want.version), names.verify_unit(want.name, want.version)]
    return [*steps, *of_release(want).units(want.name), draft.socket, names.slice_unit(want.name)]


def _keep(draft: Draft, unwanted: ReleaseId | None) -> Outlook | None:
    """Keep to what is not wanted by the registry any more; None when that serves."""
    target = fallback(draft, unwanted)
    outlook = towards(draft, target) if target else None
    let_go(draft, target)
    serves = outlook is not None and (draft.serving_release is not None or outlook.state is State.IDLE)
    return None if serves else outlook


def _instead_of_rejected(draft: Draft, want: Release, rejected: Rejected) -> Outlook:
    return _instead(draft, want.version, want.id, Reason(rejected.reason), rejected.message)


def _instead(draft: Draft, version: int, release: ReleaseId | None, reason: Reason, why: str) -> Outlook:
    """Keep to another release than the wanted one, or to none, and say why."""
    target = fallback(draft, release)
    if target is None:
        # A release that does not come up must not answer with silence.
        draft.disable([draft.socket])
        if not draft.seen.unit(draft.socket).is_down:
            draft.stop(draft.socket)
        for one in dict.fromkeys((release, draft.active_release)):
            for unit in draft.servers(one) if one else ():
                draft.stop(unit)
        let_go(draft, None)
        return draft.blocked(version, reason, why)
    outlook = towards(draft, target)
    let_go(draft, target)
    if outlook.state is State.IDLE:
        return outlook.model_copy(update={"state": State.DEGRADED, "desired_version": str(version), "message": why})
    if draft.serving_release == target.id:
        return draft.outlook(State.DEGRADED, version, reason, why)
    if outlook.state in (State.FAILED, State.DEGRADED):
        return draft.blocked(version, outlook.reason, f"{why}; and going back failed, too: {outlook.message}")
    return draft.outlook(
        State.ROLLING_OUT, version, Reason.GOING_BACK, f"going back to version {target.version}: {why}"
    )


def without_snapshot(seen: Observed, situation: Situation) -> Plan:
    """Decide nothing about anything, and tell what is there: no snapshot is not an empty one."""
    why = "no snapshot of the registry was ever accepted, so nothing is changed"
    drafts = [Draft(name, seen, situation, {}) for name in sorted(seen.by_deployment)]
    return Plan(
        (),
        tuple(
            draft.outlook(State.SERVING if draft.serving_release else State.PENDING, None, Reason.NO_SNAPSHOT, why)
            for draft in drafts
        ),
    )


def _collect_environments(wanted: Wanted, seen: Observed, starting: set[str]) -> list[Action]:
    """Have systemd remove the environments that no server names and no release is being prepared for."""
    used = {file.facts.environment for unit, file in seen.files.items() if names.parse_server(unit)}
    for want in wanted.values():
        if isinstance(want, Release):
            used.add(seen.unit(names.fetch_unit(want.name, want.version)).environment)
    found: list[Action] = []
    for unit in sorted(seen.files):
        environment = names.parse_build(unit)
        if environment is None or unit in starting:
            continue
        if environment in used:
            found += [] if seen.files[unit].intact else [act.Install("", unit)]
            continue
        state = seen.unit(unit)
        if state.is_down:
            found += clean("", unit, seen.files[unit])
        elif not state.is_going_down:
            found.append(act.Stop("", unit))
    return found
