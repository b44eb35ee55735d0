"""The part of the plan that brings a release into service: beside the one that serves, or in its place."""

from dataclasses import dataclass

from reconciler.core import actions as act
from reconciler.core import names, units
from reconciler.core.draft import Draft
from reconciler.core.hand_over import disable_others, name_in_socket, point_to, set_aside, settle
from reconciler.core.observed import RESTARTS_THAT_ARE_ENOUGH
from reconciler.core.prepare import prepare, restore, start_over, verify_again
from reconciler.core.reasons import DEAF, is_the_hosts_fault, why_failed
from reconciler.core.soak import why_bad, why_ended
from reconciler.core.status import Outlook, State
from reconciler.core.target import Target, of_files


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
        return draft.outlook(State.IDLE, target.version, "", "nobody asks it anything; the next request starts it")
    if good and active and active not in (target.id, good) and target.id != good and _fails(draft, active):
        return towards(draft, of_files(draft, good))  # pre-empted before it proved itself, and no base to go on from
    if outlook := _failed(draft, target):
        return outlook
    if _has_a_base(draft, target):
        return _beside(draft, target)
    return _in_place(draft, target)


def _failed_in_soak(draft: Draft, target: Target) -> Outlook | None:
    """Reject a release that took over and did not prove itself."""
    servers = [draft.seen.unit(unit) for unit in draft.servers(target.id)]
    bad = why_bad(servers, target.rollout.max_error_rate)
    if bad is None and any(draft.seen.unit(unit).stands_by for unit in draft.servers(str(draft.good_release))):
        bad = why_ended(servers)  # by itself or by a person's hand: what stands by is there to take over
    if bad is None or not any(unit.ever_active for unit in servers):
        return None
    draft.before.append(act.Reject(draft.name, servers[0].name, target.id, *bad))
    return draft.outlook(State.ROLLING_OUT, target.version, *bad)


def _fails(draft: Draft, release: str) -> bool:
    servers = [draft.seen.unit(unit) for unit in draft.servers(release)]
    bad = why_bad(servers, draft.situation.rollout.max_error_rate)
    return draft.record.rejection(release) is not None or bad is not None or not draft.is_partly_up(release)


def _has_a_base(draft: Draft, target: Target) -> bool:
    """Whether something serves that goes on serving while the target is made ready."""
    active = draft.active_release
    if active in (None, target.id) or draft.record.rejection(active) or not draft.servers(active):
        return False
    held = any(unit in draft.situation.holds for unit in draft.servers(active))
    return draft.is_partly_up(active) or (active == draft.good_release and not held)


def _failed(draft: Draft, target: Target) -> Outlook | None:
    """See to a target whose start failed: reject what never proved itself, hold what is to be tried again."""
    failed = [unit for unit in draft.servers(target.id) if unit in draft.situation.holds]
    if not failed:
        return None
    unit, why = draft.seen.unit(failed[0]), draft.situation.holds[failed[0]]
    unproven = target.id not in (draft.record.good, *draft.record.before)
    if unproven and not is_the_hosts_fault(unit) and unit.has_failed:
        draft.before.append(act.Reject(draft.name, failed[0], target.id, "start-failed", why))
        return draft.blocked(target.version, "start-failed", why)
    _hold(draft, target, failed[0])
    return draft.blocked(target.version, "start-failed", why)


def _hold(draft: Draft, target: Target, server: str) -> None:
    """A release that does not come up must not answer with silence: stop it, and its socket if that names no other."""
    unit, active = draft.seen.unit(server), draft.active_release
    others = any(draft.seen.unit(one).is_up for one in draft.servers(target.id))
    if active is not None and draft.record.rejection(active) is None and (active != target.id or others):
        _keep_serving(draft, active)
    # The socket runs, but systemd lost what it listened on: only a start gives it that again. Once, not at each pass:
    # clearing the failure is what tells that it has been done.
    deaf = unit.active == "failed" and unit.status_text.startswith(DEAF)
    if deaf or not unit.is_down:
        draft.stop(server)
    if (deaf or (active == target.id and not others)) and not draft.seen.unit(draft.socket).is_down:
        draft.stop(draft.socket)


def _beside(draft: Draft, target: Target) -> Outlook:
    """Make the target ready while the active release serves; replicas one by one, each taking the place of one."""
    active = str(draft.active_release)
    ready = sum(draft.seen.unit(unit).is_up for unit in target.units(draft.name))
    others = draft.servers(active)
    aside = min(ready, len(others) - 1) if target.rollout.strategy == "hand-over" else 0
    draft.before += [act.StandBy(draft.name, unit) for unit in others[:aside] if draft.seen.unit(unit).is_up]
    # It may have been told to resume for a promotion that something newer came after.
    set_aside(draft, {draft.good_release} - {None, active, target.id})
    _keep_serving(draft, active, aside)
    if target.rollout.strategy == "recreate":
        return _in_place(draft, target)
    if outlook := _make_ready(draft, target):
        return outlook
    underway = draft.outlook(State.ROLLING_OUT, target.version, "starting", f"version {target.version} is loading")
    if not draft.listens:
        return underway  # the release that serves comes first
    _start_next(draft, target)
    return underway


def _in_place(draft: Draft, target: Target) -> Outlook:
    """Give the target the address at once, and have everything else stopped: requests wait until it is ready."""
    going_back = draft.record.rejection(draft.active_release or "") is not None and target.release is None
    waits = "going-back" if going_back else "starting"
    underway = draft.outlook(State.ROLLING_OUT, target.version, waits, f"version {target.version} is loading")
    if not going_back and (outlook := _make_ready(draft, target)):
        return outlook
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
    if not others or target.rollout.strategy == "hand-over":
        _start_next(draft, target)
    return _ending(draft, target) or underway


def _ending(draft: Draft, target: Target) -> Outlook | None:
    """Tell of a release that served and ends again and again: systemd goes on starting it, and so do we."""
    servers = [draft.seen.unit(unit) for unit in target.units(draft.name)]
    bad = [unit for unit in servers if unit.ever_active and not unit.is_up and unit.ends >= RESTARTS_THAT_ARE_ENOUGH]
    return draft.blocked(target.version, "start-failed", why_failed(bad[0])) if bad else None


def _make_ready(draft: Draft, target: Target) -> Outlook | None:
    """Have the target's files fetched, built and verified, and its units written; None when it can be started."""
    first = draft.servers(target.id)[:1]
    if any(not draft.seen.unit(unit).is_down for unit in first):
        outlook = None  # it is being started: its files are in use
    elif target.release is None and first and draft.seen.unit(first[0]).active == "failed":
        draft.stop(first[0])
        return verify_again(draft, target.version)
    elif target.release is None:
        return restore(draft, target.version, draft.fact(target.id, "Environment"))
    elif first and draft.seen.unit(first[0]).active == "failed":
        draft.stop(first[0])
        return start_over(draft, target.release, draft.fact(target.id, "Environment"))
    else:
        outlook = prepare(draft, target.release)
    if outlook is None and names.slice_unit(draft.name) not in draft.seen.files:
        draft.write(units.slice_(draft.name, target.runtime))
    if outlook is None and target.release and (environment := draft.fact(target.id, "Environment")):
        for number, unit in enumerate(target.units(draft.name), 1):
            if unit not in draft.seen.files:
                draft.write(units.server(target.release, environment, number))
    return outlook


def _start_next(draft: Draft, target: Target) -> None:
    """Start the first of the target's servers that is not ready, or have it accept again."""
    known = {*draft.seen.files, *draft.shared}
    for server in target.units(draft.name):
        unit = draft.seen.unit(server)
        if unit.stands_by:
            draft.before.append(act.Resume(draft.name, server))
        elif not unit.is_up:
            if unit.is_down and server in known:
                draft.start(server)
                if draft.active_release == draft.good_release == target.id:
                    draft.note_start(server)
            return


def _keep_serving(draft: Draft, active: str, aside: int = 0) -> None:
    """What served before goes on serving; the first `aside` of its servers may stand by."""
    servers = draft.servers(active)
    if not servers or draft.is_idle(active):
        return
    draft.mend([*servers, draft.socket, names.slice_unit(draft.name)])
    if _listen(draft, of_files(draft, active)) is not None:
        return
    seen = {server: draft.seen.unit(server) for server in servers[aside:]}
    draft.before += [act.Resume(draft.name, server) for server, unit in seen.items() if unit.stands_by]
    down = [server for server, unit in seen.items() if unit.is_down and server not in draft.situation.holds]
    version = names.release_version(active)
    if failed := [server for server in down if seen[server].active == "failed"]:
        for server in failed:
            draft.stop(server)
        verify_again(draft, version)
    elif down and restore(draft, version, draft.fact(active, "Environment")) is None:
        for server in down:
            draft.start(server)
            draft.note_start(server)


@dataclass(frozen=True)
class _Deaf:
    """Why a socket does not listen; without a reason it is on its way."""

    reason: str = ""
    why: str = ""


def _listen(draft: Draft, target: Target) -> _Deaf | None:
    """Have the socket listen for a release; None when it does, or will once this plan is carried out."""
    if draft.listens:
        return None
    running = [unit for release in draft.releases() for unit in draft.running(release)]
    if running:  # systemd refuses to start a socket whose service runs
        for unit in running:
            draft.stop(unit)
        return _Deaf()
    if draft.port is None or draft.port in draft.situation.refused_ports:
        port = draft.choose_port()
        if port is None:
            first, last = draft.situation.port_range
            why = f"cannot give {draft.name} a port: none of {first}-{last} is free; widen deploy.port_range"
            return _Deaf("no-free-port", why)
        draft.write(units.socket(draft.name, target.id, target.runtime, port))
    elif draft.socket in draft.situation.holds:
        return _Deaf("socket-failed", draft.situation.holds[draft.socket])
    elif draft.active_release != target.id:
        draft.write(units.socket(draft.name, target.id, target.runtime, draft.port))
    draft.start(draft.socket)
    if draft.socket in draft.seen.enabled:
        draft.note_start(draft.socket)
    return None
