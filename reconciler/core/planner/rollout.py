"""The part of the plan that brings a release into service: beside the one that serves, or in its place."""

from dataclasses import dataclass

from reconciler.core.planner import actions as act
from reconciler.core.planner import unit_values
from reconciler.core.planner.deployment_plan import DeploymentPlan
from reconciler.core.planner.hand_over import (
    disable_others,
    make_active,
    point_socket_to,
    put_in_standby,
    take_over_or_finish_soak,
)
from reconciler.core.planner.prepare import prepare, redo_steps, reverify_and_repair, verify_again
from reconciler.core.planner.reverify import reverify_when_due
from reconciler.core.planner.soak import why_bad, why_ended
from reconciler.core.planner.start_failure import has_an_excuse, late, may_be_rejected
from reconciler.core.planner.target import Target, of_files
from reconciler.core.state.reason import Reason
from reconciler.core.state.status import Outlook, State
from reconciler.core.units import names
from reconciler.core.units.failures import is_the_hosts_fault, why_failed
from reconciler.core.units.names import ReleaseId
from reconciler.core.units.observed import RESTARTS_THAT_ARE_ENOUGH


def advance(deployment: DeploymentPlan, target: Target) -> Outlook:
    """Take a deployment one step closer to a release that serves it, and keep what serves serving until then."""
    active, good = deployment.active_release, deployment.good_release
    for release in dict.fromkeys(one for one in (target.id, active, good) if one):
        deployment.restore_files(deployment.servers(release))
    deployment.restore_files([deployment.socket, names.slice_unit(deployment.name)])
    if active == target.id and good not in (None, target.id) and (bad := _failed_in_soak(deployment, target)):
        return bad
    if deployment.listens and all(deployment.seen.unit(unit).is_up for unit in target.units(deployment.name)):
        return take_over_or_finish_soak(deployment, target)
    if target.id == active == good and deployment.is_idle(target.id):
        make_active(deployment, target)  # for its enablement only
        return deployment.outlook(
            State.IDLE, target.version, Reason.NONE, "nobody asks it anything; the next request starts it"
        )
    if good and active and active not in (target.id, good) and target.id != good and _is_bad(deployment, active):
        outlook = _return_to_good(deployment, target, active, good)
        if outlook is not None:
            return outlook
    if outlook := late(deployment, target) or _failed(deployment, target):
        return outlook
    if base := _base(deployment, target):
        return _roll_out_beside(deployment, target, base)
    return _roll_out_in_place(deployment, target)


def _return_to_good(deployment: DeploymentPlan, target: Target, active: ReleaseId, good: ReleaseId) -> Outlook | None:
    """Have the good release serve again in place of one that failed while a newer one came; None if it cannot."""
    rejected = deployment.record.rejection(active) is not None
    outlook = None if rejected else _failed_in_soak(deployment, of_files(deployment, active))
    if outlook is None:
        attempt = deployment.fork()
        outlook = advance(attempt, of_files(deployment, good))
        if outlook.state is State.FAILED:
            return None  # what is wanted now is what is left to be tried
        deployment.join(attempt)
    return outlook.model_copy(update={"desired_version": str(target.version)})


def _failed_in_soak(deployment: DeploymentPlan, target: Target) -> Outlook | None:
    """Reject a release that took over and did not prove itself; what is the host's fault is another matter."""
    seen = [deployment.seen.unit(unit) for unit in deployment.servers(target.id)]
    servers = [unit for unit in seen if unit.active != "failed" or unit.restarts or not is_the_hosts_fault(unit)]
    bad = why_bad(servers, target.rollout.max_error_rate)
    standby = any(deployment.seen.unit(unit).stands_by for unit in deployment.servers(str(deployment.good_release)))
    if bad is None and standby and not deployment.facts(target.id).may_idle:
        bad = why_ended(servers)  # by itself or by a person's hand: what stands by is there to take over
    if bad is None or not any(unit.ever_active for unit in servers):
        return None
    # First what needs nothing but systemd, in this very plan: the note, and the files, follow as they can.
    good = deployment.servers(str(deployment.good_release))
    deployment.resume(good)
    if any(deployment.seen.unit(unit).active == "active" for unit in good):
        deployment.stand_by(deployment.servers(target.id))
    deployment.before.append(
        act.Reject(deployment.name, servers[0].name, target.id, *bad, asked=target.asked(deployment))
    )
    return deployment.outlook(State.ROLLING_OUT, target.version, *bad)


def _is_bad(deployment: DeploymentPlan, release: ReleaseId) -> bool:
    servers = [deployment.seen.unit(unit) for unit in deployment.servers(release)]
    bad = why_bad(servers, deployment.inputs.rollout.max_error_rate)
    return deployment.record.rejection(release) is not None or bad is not None or not deployment.is_partly_up(release)


def _base(deployment: DeploymentPlan, target: Target) -> ReleaseId | None:
    """The active release, if it serves and goes on serving while the target is made ready."""
    active = deployment.active_release
    if active is None or active == target.id or deployment.record.rejection(active) or not deployment.servers(active):
        return None
    held = any(unit in deployment.inputs.retry_later for unit in deployment.servers(active))
    return active if deployment.is_partly_up(active) or (active == deployment.good_release and not held) else None


def _failed(deployment: DeploymentPlan, target: Target) -> Outlook | None:
    """See to a target whose start failed: reject what never proved itself, hold what is to be tried again."""
    failed = [unit for unit in deployment.servers(target.id) if unit in deployment.inputs.retry_later]
    if not failed:
        return None
    unit, why = deployment.seen.unit(failed[0]), deployment.inputs.retry_later[failed[0]]
    good = deployment.good_release
    serves = deployment.is_partly_up(target.id)
    if may_be_rejected(deployment, target) and unit.has_failed and not has_an_excuse(deployment, unit):
        deployment.before.append(
            act.Reject(deployment.name, failed[0], target.id, Reason.START_FAILED, why, target.asked(deployment))
        )
        return deployment.blocked(target.version, Reason.START_FAILED, why)
    if good and deployment.active_release == target.id and good != target.id and not serves:
        advance(deployment, of_files(deployment, good))  # a boot in its soak started it alone
    else:
        _close_address(deployment, target, failed[0])
    return deployment.blocked(target.version, Reason.START_FAILED, why)


def _close_address(deployment: DeploymentPlan, target: Target, server: str) -> None:
    """A release that does not come up must not answer with silence: stop it, and its socket if that names no other."""
    unit, active = deployment.seen.unit(server), deployment.active_release
    others = any(deployment.seen.unit(one).is_up for one in deployment.servers(target.id))
    if active is not None and deployment.record.rejection(active) is None and (active != target.id or others):
        _keep_serving(deployment, active)
    if not unit.is_down:
        deployment.stop(server)
    if active == target.id and not others and not deployment.seen.unit(deployment.socket).is_down:
        deployment.stop(deployment.socket)


def _roll_out_beside(deployment: DeploymentPlan, target: Target, active: ReleaseId) -> Outlook:
    """Make the target ready while the active release serves; replicas one by one, each taking the place of one."""
    if target.rollout.strategy == "recreate":
        outlook = _make_ready(deployment, target)
        if outlook:
            _keep_serving(deployment, active)
        return outlook or _swap(deployment, target)
    ready = sum(deployment.seen.unit(unit).is_up for unit in target.units(deployment.name))
    others = deployment.servers(active)
    aside = min(ready, len(others) - 1)
    deployment.stand_by(others[:aside])
    # It may have been told to resume for a promotion that something newer came after.
    put_in_standby(deployment, {deployment.good_release} - {None, active, target.id})
    _keep_serving(deployment, active, aside)
    version = active.version
    if version != target.version and deployment.is_up(active):
        reverify_when_due(deployment, version, deployment.facts(active).environment)
    if outlook := _make_ready(deployment, target):
        return outlook
    underway = deployment.outlook(
        State.ROLLING_OUT, target.version, Reason.STARTING, f"version {target.version} is loading"
    )
    if not deployment.listens:
        return underway  # the release that serves comes first
    _start_next(deployment, target)
    return underway


def _roll_out_in_place(deployment: DeploymentPlan, target: Target) -> Outlook:
    """Have the target take the address, made ready before that or, where the one that has it is rejected, after it."""
    going_back = deployment.record.rejection(deployment.active_release or "") is not None and target.release is None
    if not going_back and (outlook := _make_ready(deployment, target)):
        _close_what_nobody_answers(deployment, target)
        return outlook
    return _swap(deployment, target, going_back)


def _close_what_nobody_answers(deployment: DeploymentPlan, target: Target) -> None:
    """While a release is made ready: an address behind which there is nothing but what failed must not be open."""
    active = deployment.active_release
    if active is None or active == target.id:
        return
    rejected = deployment.record.rejection(active) is not None
    if not rejected and (deployment.running(active) or deployment.is_idle(active)):
        return
    if rejected:
        deployment.disable([deployment.socket])
    for unit in (deployment.socket, *deployment.servers(active)):
        if not deployment.seen.unit(unit).is_down:
            deployment.stop(unit)


def _swap(deployment: DeploymentPlan, target: Target, going_back: bool = False) -> Outlook:
    """Give the target the address, and have everything else stopped: requests wait until it is ready."""
    waits = Reason.GOING_BACK if going_back else Reason.STARTING
    underway = deployment.outlook(State.ROLLING_OUT, target.version, waits, f"version {target.version} is loading")
    disable_others(deployment, target)
    if not_listening := _listen(deployment, target):
        return (
            deployment.blocked(target.version, not_listening.reason, not_listening.why)
            if not_listening.reason
            else underway
        )
    point_socket_to(deployment, target)
    others = [unit for release in deployment.releases() if release != target.id for unit in deployment.running(release)]
    if deployment.active_release == target.id:  # in its soak: what is to take over again goes on standing by
        others = [unit for unit in others if not deployment.seen.unit(unit).stands_by]
    for unit in others:
        deployment.stop_after_reload(unit)
    if going_back and (outlook := _make_ready(deployment, target)):
        return outlook
    standby = any(deployment.seen.unit(unit).stands_by for unit in target.units(deployment.name))
    if going_back and standby:
        deployment.stand_by(others)
    if not others or standby or target.rollout.strategy == "hand-over":
        _start_next(deployment, target)
    return _crash_looping(deployment, target) or underway


def _crash_looping(deployment: DeploymentPlan, target: Target) -> Outlook | None:
    """Tell of a release that served and ends again and again: systemd goes on starting it, and so do we."""
    servers = [deployment.seen.unit(unit) for unit in target.units(deployment.name)]
    bad = [unit for unit in servers if unit.ever_active and not unit.is_up and unit.ends >= RESTARTS_THAT_ARE_ENOUGH]
    return deployment.blocked(target.version, Reason.START_FAILED, why_failed(bad[0])) if bad else None


def _make_ready(deployment: DeploymentPlan, target: Target) -> Outlook | None:
    """Have the target's files fetched, built and verified, and its units written; None when it can be started."""
    first = deployment.servers(target.id)[:1]
    if any(not deployment.seen.unit(unit).is_down for unit in first):
        outlook = None  # it is being started: its files are in use
    elif target.release is None and first and deployment.seen.unit(first[0]).active == "failed":
        deployment.stop(first[0])
        return verify_again(deployment, target.version)
    elif target.release is None:
        return reverify_and_repair(deployment, target.version, deployment.facts(target.id).environment)
    elif first and deployment.seen.unit(first[0]).active == "failed":
        deployment.stop(first[0])
        return redo_steps(deployment, target.release, deployment.facts(target.id).environment)
    else:
        outlook = prepare(deployment, target.release)
    if outlook is None and names.slice_unit(deployment.name) not in deployment.seen.files:
        deployment.write(unit_values.slice_(deployment.name, target.runtime))
    if outlook is None and target.release and (environment := deployment.facts(target.id).environment):
        for number, unit in enumerate(target.units(deployment.name), 1):
            if unit not in deployment.seen.files:
                deployment.write(unit_values.server(target.release, environment, deployment.inputs.listening, number))
    return outlook


def _start_next(deployment: DeploymentPlan, target: Target) -> None:
    """Start the first of the target's servers that is not ready, or have it accept again."""
    known = {*deployment.seen.files, *deployment.shared}
    for server in target.units(deployment.name):
        unit = deployment.seen.unit(server)
        if unit.stands_by:
            deployment.resume([server])
        elif not unit.is_up:
            if unit.is_down and server in known:
                deployment.start(server)
                if deployment.active_release == deployment.good_release == target.id:
                    deployment.note_start(server)
            return


def _keep_serving(deployment: DeploymentPlan, active: ReleaseId, aside: int = 0) -> None:
    """What served before goes on serving; the first `aside` of its servers may stand by."""
    servers = deployment.servers(active)
    if not servers or deployment.is_idle(active):
        return
    deployment.restore_files([*servers, deployment.socket, names.slice_unit(deployment.name)])
    if _listen(deployment, of_files(deployment, active)) is not None:
        return
    seen = {server: deployment.seen.unit(server) for server in servers[aside:]}
    deployment.resume(seen)
    down = [server for server, unit in seen.items() if unit.is_down and server not in deployment.inputs.retry_later]
    version = active.version
    if failed := [server for server in down if seen[server].active == "failed"]:
        for server in failed:
            deployment.stop(server)
        if not any(deployment.running(release) for release in deployment.releases()):
            deployment.stop(deployment.socket)  # it may have lost what it listened on; only a start gives it that again
        verify_again(deployment, version)
    elif down and reverify_and_repair(deployment, version, deployment.facts(active).environment) is None:
        for server in down:
            deployment.start(server)
            deployment.note_start(server)


@dataclass(frozen=True)
class _NotListening:
    """Why a socket does not listen; without a reason it is on its way."""

    reason: Reason = Reason.NONE
    why: str = ""


def _listen(deployment: DeploymentPlan, target: Target) -> _NotListening | None:
    """Have the socket listen for a release; None when it does, or will once this plan is carried out."""
    if deployment.listens:
        return None
    running = [unit for release in deployment.releases() for unit in deployment.running(release)]
    if running and deployment.name in deployment.inputs.exhausted:
        deployment.note_repair(
            deployment.socket, "started"
        )  # counted now: to give up after they were stopped would leave nobody
    if running:  # systemd refuses to start a socket whose service runs
        for unit in running:
            deployment.stop(unit)
        return _NotListening()
    if deployment.port is None or deployment.port in deployment.inputs.busy_ports:
        port = deployment.choose_port()
        if port is None:
            first, last = deployment.inputs.port_range
            why = f"cannot give {deployment.name} a port: none of {first}-{last} is free; widen deploy.port_range"
            return _NotListening(Reason.NO_FREE_PORT, why)
        deployment.write(
            unit_values.socket(deployment.name, target.id, target.runtime, port, deployment.inputs.listening)
        )
    elif deployment.socket in deployment.inputs.retry_later:
        return _NotListening(Reason.SOCKET_FAILED, deployment.inputs.retry_later[deployment.socket])
    elif deployment.active_release != target.id:
        deployment.write(
            unit_values.socket(deployment.name, target.id, target.runtime, deployment.port, deployment.inputs.listening)
        )
    deployment.start(deployment.socket)
    deployment.note_start(deployment.socket)
    return None
