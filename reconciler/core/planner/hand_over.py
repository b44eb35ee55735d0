"""The part of the plan in which a release that is ready takes over, is watched, and lets go of the one before it."""

from reconciler.core.planner import actions as act
from reconciler.core.planner import unit_values
from reconciler.core.planner.deployment_plan import Draft
from reconciler.core.planner.reverify import look_after
from reconciler.core.planner.target import Target
from reconciler.core.state.reason import FAILED, Reason
from reconciler.core.state.status import Outlook, State
from reconciler.core.units.names import ReleaseId

MANY = 10
"""How many versions a sentence names."""


def settle(draft: Draft, target: Target) -> Outlook:
    """All servers of the target accept: have it be the active release, and the good one after its soak."""
    record, active, good = draft.record, draft.active_release, draft.good_release
    if active != target.id:
        if active and good is None and draft.running(active) and record.rejection(active) is None:
            good = active
            draft.before.append(act.Accept(draft.name, draft.servers(active)[0], active))
        set_aside(draft, {active, good} - {None, target.id})
        point_to(draft, target)
        return draft.outlook(
            State.ROLLING_OUT, target.version, Reason.TAKING_OVER, f"version {target.version} takes over"
        )
    point_to(draft, target)
    if good == target.id:
        return _steady(draft, target)
    soak = target.rollout.soak
    servers = [draft.seen.unit(unit) for unit in target.units(draft.name)]
    ends = max(unit.since for unit in servers) + soak
    set_aside(draft, {good} - {None})
    if good is None or soak == 0 or draft.situation.now >= ends:
        if others := _lingering(draft, target):
            for unit in others:
                draft.stop(unit)
            return draft.outlook(State.ROLLING_OUT, target.version, Reason.TAKING_OVER, f"{others[0]} is ending")
        draft.before.append(act.Accept(draft.name, servers[0].name, target.id))
        return _steady(draft, target)
    draft.deadlines.append(ends)
    before = good.version
    return draft.outlook(
        State.ROLLING_OUT,
        target.version,
        Reason.SOAKING,
        f"version {target.version} serves and is watched for {soak} s; version {before} is ready to take over again",
    )


def _lingering(draft: Draft, target: Target) -> list[str]:
    """The servers of others that may still answer: whatever is accepted answers alone."""
    others = [unit for release in draft.releases() if release != target.id for unit in draft.running(release)]
    return [unit for unit in others if not draft.seen.unit(unit).stands_by]


def point_to(draft: Draft, target: Target) -> None:
    """Have the socket name the target, and a boot start the target and nothing else."""
    disable_others(draft, target)
    name_in_socket(draft, target)


def disable_others(draft: Draft, target: Target) -> None:
    """Have a boot start nothing but the target; before the socket names it, so that no two releases ever disagree."""
    stale = {unit for release in draft.releases() for unit in draft.servers(release)} - set(target.units(draft.name))
    draft.disable(sorted(stale))


def name_in_socket(draft: Draft, target: Target) -> None:
    """Have the socket name the target, and a boot start both."""
    servers = [unit for unit in target.units(draft.name) if unit in draft.seen.files]
    if draft.active_release != target.id and draft.socket not in draft.shared:
        port = draft.port or draft.choose_port()
        if port:
            draft.write(unit_values.socket(draft.name, target.id, target.runtime, port, draft.situation.listening))
    draft.after += [act.Enable(draft.name, one) for one in (draft.socket, *servers) if one not in draft.seen.enabled]


def set_aside(draft: Draft, releases: set[ReleaseId | None]) -> None:
    """Have the servers of other releases stop accepting; they stay loaded."""
    for release in sorted(one for one in releases if one is not None):
        draft.stand_by(draft.servers(release))


def _steady(draft: Draft, target: Target) -> Outlook:
    """The target serves and proved itself: see that its files are what they were."""
    _scale_down(draft, target)
    release = target.release
    outlook = draft.outlook(
        State.SERVING, target.version, Reason.NONE, f"selected by {release.selected_by}" if release else ""
    )
    if release and release.also_matching:
        versions = ", ".join(str(version) for version in release.also_matching[:MANY])
        more = f" and {len(release.also_matching) - MANY} more" if len(release.also_matching) > MANY else ""
        message = f"{release.selected_by} also has version {versions}{more}; the highest serves"
        outlook = draft.outlook(State.SERVING, target.version, Reason.SEVERAL_SELECTED, message)
    doing = look_after(draft, target.version, draft.facts(target.id).environment)
    if doing is not None and doing.reason in FAILED.values():
        return draft.outlook(State.SERVING, target.version, doing.reason, doing.message)
    return outlook


def _scale_down(draft: Draft, target: Target) -> None:
    """Have the servers removed that are more than the target's number."""
    for unit in sorted(set(draft.servers(target.id)) - set(target.units(draft.name))):
        if draft.stop(unit) and unit not in draft.seen.enabled:
            draft.before.append(act.Remove(draft.name, unit))
