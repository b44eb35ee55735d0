"""The part of the plan that brings a release into service: beside the one that serves, or in its place."""

from dataclasses import dataclass

from reconciler.core.planner import actions as act
from reconciler.core.planner import unit_values
from reconciler.core.planner.deployment_plan import Draft
from reconciler.core.planner.hand_over import disable_others, name_in_socket, point_to, set_aside, settle
from reconciler.core.planner.prepare import prepare, restore, start_over, verify_again
from reconciler.core.planner.reverify import look_after
from reconciler.core.planner.soak import why_bad, why_ended
from reconciler.core.planner.start_failure import has_an_excuse, late, may_be_rejected
from reconciler.core.planner.target import Target, of_files
from reconciler.core.state.reason import Reason
from reconciler.core.state.status import Outlook, State
from reconciler.core.units import names
from reconciler.core.units.failures import is_the_hosts_fault, why_failed
from reconciler.core.units.names import ReleaseId
from reconciler.core.units.observed import RESTARTS_THAT_ARE_ENOUGH


def towards(draft: Draft, target: Target) -> Outlook:
    """Take a deployment one step closer to a release that serves it, and keep what serves serving until then."""
    active, good = draft.active_release, draft.good_release
    for release in dict.fromkeys(one for one in (target.id, active, good) if one):
        draft.mend(draft.servers(release))
    draft.mend([draft.socket, names.slice_unit(draft.name)])
    if active == target.id and good not in (None, target.id) and (bad := _failed_in_soak(draft, target)):
        return bad
    if draft.listens and all(draft.seen.unit(unit).is_up for unit in target.units(draft.name)):
        return settle(draft, target)
    if target.id == active == good and draft.is_idle(target.id):
        point_to(draft, target)  # for its enablement only
        return draft.outlook(
            State.IDLE, target.version, Reason.NONE, "nobody asks it anything; the next request starts it"
        )
    if good and active and active not in (target.id, good) and target.id != good and _fails(draft, active):
        outlook = _call_back(draft, target, active, good)
        if outlook is not None:
            return outlook
    if outlook := late(draft, target) or _failed(draft, target):
        return outlook
    if base := _base(draft, target):
        return _beside(draft, target, base)
    return _in_place(draft, target)


def _call_back(draft: Draft, target: Target, active: ReleaseId, good: ReleaseId) -> Outlook | None:
    """Have the good release serve again in place of one that failed while a newer one came; None if it cannot."""
    rejected = draft.record.rejection(active) is not None
    outlook = None if rejected else _failed_in_soak(draft, of_files(draft, active))
    if outlook is None:
        attempt = draft.fork()
        outlook = towards(attempt, of_files(draft, good))
        if outlook.state is State.FAILED:
            return None  # what is wanted now is what is left to be tried
        draft.join(attempt)
    return outlook.model_copy(update={"desired_version": str(target.version)})


def _failed_in_soak(draft: Draft, target: Target) -> Outlook | None:
    """Reject a release that took over and did not prove itself; what is the host's fault is another matter."""
    seen = [draft.seen.unit(unit) for unit in draft.servers(target.id)]
    servers = [unit for unit in seen if unit.active != "failed" or unit.restarts or not is_the_hosts_fault(unit)]
    bad = why_bad(servers, target.rollout.max_error_rate)
    standby = any(draft.seen.unit(unit).stands_by for unit in draft.servers(str(draft.good_release)))
    if bad is None and standby and not draft.facts(target.id).may_idle:
        bad = why_ended(servers)  # by itself or by a person's hand: what stands by is there to take over
    if bad is None or not any(unit.ever_active for unit in servers):
        return None
    # First what needs nothing but systemd, in this very plan: the note, and the files, follow as they can.
    good = draft.servers(str(draft.good_release))
    draft.resume(good)
    if any(draft.seen.unit(unit).active == "active" for unit in good):
        draft.stand_by(draft.servers(target.id))
    draft.before.append(act.Reject(draft.name, servers[0].name, target.id, *bad, asked=target.asked(draft)))
    return draft.outlook(State.ROLLING_OUT, target.version, *bad)


def _fails(draft: Draft, release: ReleaseId) -> bool:
    servers = [draft.seen.unit(unit) for unit in draft.servers(release)]
    bad = why_bad(servers, draft.situation.rollout.max_error_rate)
    return draft.record.rejection(release) is not None or bad is not None or not draft.is_partly_up(release)


def _base(draft: Draft, target: Target) -> ReleaseId | None:
    """The active release, if it serves and goes on serving while the target is made ready."""
    active = draft.active_release
    if active is None or active == target.id or draft.record.rejection(active) or not draft.servers(active):
        return None
    held = any(unit in draft.situation.holds for unit in draft.servers(active))
    return active if draft.is_partly_up(active) or (active == draft.good_release and not held) else None


def _failed(draft: Draft, target: Target) -> Outlook | None:
    """See to a target whose start failed: reject what never proved itself, hold what is to be tried again."""
    failed = [unit for unit in draft.servers(target.id) if unit in draft.situation.holds]
    if not failed:
        return None
    unit, why = draft.seen.unit(failed[0]), draft.situation.holds[failed[0]]
    good = draft.good_release
    serves = draft.is_partly_up(target.id)
    if may_be_rejected(draft, target) and unit.has_failed and not has_an_excuse(draft, unit):
        draft.before.append(act.Reject(draft.name, failed[0], target.id, Reason.START_FAILED, why, target.asked(draft)))
        return draft.blocked(target.version, Reason.START_FAILED, why)
    if good and draft.active_release == target.id and good != target.id and not serves:
        towards(draft, of_files(draft, good))  # a boot in its soak started it alone
    else:
        _hold(draft, target, failed[0])
    return draft.blocked(target.version, Reason.START_FAILED, why)


def _hold(draft: Draft, target: Target, server: str) -> None:
    """A release that does not come up must not answer with silence: stop it, and its socket if that names no other."""
    unit, active = draft.seen.unit(server), draft.active_release
    others = any(draft.seen.unit(one).is_up for one in draft.servers(target.id))
    if active is not None and draft.record.rejection(active) is None and (active != target.id or others):
        _keep_serving(draft, active)
    if not unit.is_down:
        draft.stop(server)
    if active == target.id and not others and not draft.seen.unit(draft.socket).is_down:
        draft.stop(draft.socket)


def _beside(draft: Draft, target: Target, active: ReleaseId) -> Outlook:
    """Make the target ready while the active release serves; replicas one by one, each taking the place of one."""
    if target.rollout.strategy == "recreate":
        outlook = _make_ready(draft, target)
        if outlook:
            _keep_serving(draft, active)
        return outlook or _replace(draft, target)
    ready = sum(draft.seen.unit(unit).is_up for unit in target.units(draft.name))
    others = draft.servers(active)
    aside = min(ready, len(others) - 1)
    draft.stand_by(others[:aside])
    # It may have been told to resume for a promotion that something newer came after.
    set_aside(draft, {draft.good_release} - {None, active, target.id})
    _keep_serving(draft, active, aside)
    version = active.version
    if version != target.version and draft.is_up(active):
        look_after(draft, version, draft.facts(active).environment)
    if outlook := _make_ready(draft, target):
        return outlook
    underway = draft.outlook(State.ROLLING_OUT, target.version, Reason.STARTING, f"version {target.version} is loading")
    if not draft.listens:
        return underway  # the release that serves comes first
    _start_next(draft, target)
    return underway


def _in_place(draft: Draft, target: Target) -> Outlook:
    """Have the target take the address, made ready before that or, where the one that has it is rejected, after it."""
    going_back = draft.record.rejection(draft.active_release or "") is not None and target.release is None
    if not going_back and (outlook := _make_ready(draft, target)):
        _close_what_nobody_answers(draft, target)
        return outlook
    return _replace(draft, target, going_back)


def _close_what_nobody_answers(draft: Draft, target: Target) -> None:
    """While a release is made ready: an address behind which there is nothing but what failed must not be open."""
    active = draft.active_release
    if active is None or active == target.id:
        return
    rejected = draft.record.rejection(active) is not None
    if not rejected and (draft.running(active) or draft.is_idle(active)):
        return
    if rejected:
        draft.disable([draft.socket])
    for unit in (draft.socket, *draft.servers(active)):
        if not draft.seen.unit(unit).is_down:
            draft.stop(unit)


def _replace(draft: Draft, target: Target, going_back: bool = False) -> Outlook:
    """Give the target the address, and have everything else stopped: requests wait until it is ready."""
    waits = Reason.GOING_BACK if going_back else Reason.STARTING
    underway = draft.outlook(State.ROLLING_OUT, target.version, waits, f"version {target.version} is loading")
    disable_others(draft, target)
    if deaf := _listen(draft, target):
        return draft.blocked(target.version, deaf.reason, deaf.why) if deaf.reason else underway
    name_in_socket(draft, target)
    others = [unit for release in draft.releases() if release != target.id for unit in draft.running(release)]
    if draft.active_release == target.id:  # in its soak: what is to take over again goes on standing by
        others = [unit for unit in others if not draft.seen.unit(unit).stands_by]
    for unit in others:
        draft.stop_after_reload(unit)
    if going_back and (outlook := _make_ready(draft, target)):
        return outlook
    standby = any(draft.seen.unit(unit).stands_by for unit in target.units(draft.name))
    if going_back and standby:
        draft.stand_by(others)
    if not others or standby or target.rollout.strategy == "hand-over":
        _start_next(draft, target)
    return _ending(draft, target) or underway


def _ending(draft: Draft, target: Target) -> Outlook | None:
    """Tell of a release that served and ends again and again: systemd goes on starting it, and so do we."""
    servers = [draft.seen.unit(unit) for unit in target.units(draft.name)]
    bad = [unit for unit in servers if unit.ever_active and not unit.is_up and unit.ends >= RESTARTS_THAT_ARE_ENOUGH]
    return draft.blocked(target.version, Reason.START_FAILED, why_failed(bad[0])) if bad else None


def _make_ready(draft: Draft, target: Target) -> Outlook | None:
    """Have the target's files fetched, built and verified, and its units written; None when it can be started."""
    first = draft.servers(target.id)[:1]
    if any(not draft.seen.unit(unit).is_down for unit in first):
        outlook = None  # it is being started: its files are in use
    elif target.release is None and first and draft.seen.unit(first[0]).active == "failed":
        draft.stop(first[0])
        return verify_again(draft, target.version)
    elif target.release is None:
        return restore(draft, target.version, draft.facts(target.id).environment)
    elif first and draft.seen.unit(first[0]).active == "failed":
        draft.stop(first[0])
        return start_over(draft, target.release, draft.facts(target.id).environment)
    else:
        outlook = prepare(draft, target.release)
    if outlook is None and names.slice_unit(draft.name) not in draft.seen.files:
        draft.write(unit_values.slice_(draft.name, target.runtime))
    if outlook is None and target.release and (environment := draft.facts(target.id).environment):
        for number, unit in enumerate(target.units(draft.name), 1):
            if unit not in draft.seen.files:
                draft.write(unit_values.server(target.release, environment, draft.situation.listening, number))
    return outlook


def _start_next(draft: Draft, target: Target) -> None:
    """Start the first of the target's servers that is not ready, or have it accept again."""
    known = {*draft.seen.files, *draft.shared}
    for server in target.units(draft.name):
        unit = draft.seen.unit(server)
        if unit.stands_by:
            draft.resume([server])
        elif not unit.is_up:
            if unit.is_down and server in known:
                draft.start(server)
                if draft.active_release == draft.good_release == target.id:
                    draft.note_start(server)
            return


def _keep_serving(draft: Draft, active: ReleaseId, aside: int = 0) -> None:
    """What served before goes on serving; the first `aside` of its servers may stand by."""
    servers = draft.servers(active)
    if not servers or draft.is_idle(active):
        return
    draft.mend([*servers, draft.socket, names.slice_unit(draft.name)])
    if _listen(draft, of_files(draft, active)) is not None:
        return
    seen = {server: draft.seen.unit(server) for server in servers[aside:]}
    draft.resume(seen)
    down = [server for server, unit in seen.items() if unit.is_down and server not in draft.situation.holds]
    version = active.version
    if failed := [server for server in down if seen[server].active == "failed"]:
        for server in failed:
            draft.stop(server)
        if not any(draft.running(release) for release in draft.releases()):
            draft.stop(draft.socket)  # it may have lost what it listened on; only a start gives it that again
        verify_again(draft, version)
    elif down and restore(draft, version, draft.facts(active).environment) is None:
        for server in down:
            draft.start(server)
            draft.note_start(server)


@dataclass(frozen=True)
class _Deaf:
    """Why a socket does not listen; without a reason it is on its way."""

    reason: Reason = Reason.NONE
    why: str = ""


def _listen(draft: Draft, target: Target) -> _Deaf | None:
    """Have the socket listen for a release; None when it does, or will once this plan is carried out."""
    if draft.listens:
        return None
    running = [unit for release in draft.releases() for unit in draft.running(release)]
    if running and draft.name in draft.situation.exhausted:
        draft.note(draft.socket, "started")  # counted now: to give up after they were stopped would leave nobody
    if running:  # systemd refuses to start a socket whose service runs
        for unit in running:
            draft.stop(unit)
        return _Deaf()
    if draft.port is None or draft.port in draft.situation.refused_ports:
        port = draft.choose_port()
        if port is None:
            first, last = draft.situation.port_range
            why = f"cannot give {draft.name} a port: none of {first}-{last} is free; widen deploy.port_range"
            return _Deaf(Reason.NO_FREE_PORT, why)
        draft.write(unit_values.socket(draft.name, target.id, target.runtime, port, draft.situation.listening))
    elif draft.socket in draft.situation.holds:
        return _Deaf(Reason.SOCKET_FAILED, draft.situation.holds[draft.socket])
    elif draft.active_release != target.id:
        draft.write(unit_values.socket(draft.name, target.id, target.runtime, draft.port, draft.situation.listening))
    draft.start(draft.socket)
    draft.note_start(draft.socket)
    return None
