"""A new release's first minutes under traffic: what counts against it, and when it has proved itself."""

from collections.abc import Sequence
from typing import NamedTuple

from reconciler.core.planner.deployment_view import DeploymentView
from reconciler.core.planner.flooding import WHY
from reconciler.core.planner.target import Target
from reconciler.core.state.reason import Reason
from reconciler.core.text.quote import one_line
from reconciler.core.units import names, status_lines
from reconciler.core.units.failures import is_the_hosts_fault, why_failed
from reconciler.core.units.names import ReleaseId
from reconciler.core.units.observed import Unit

ENOUGH_ANSWERS = 20
"""Fewer say nothing about the share of errors."""
MAX_ERROR = 200
"""Characters of an error that are shown."""


class Fault(NamedTuple):
    """What counts against a release."""

    reason: Reason
    why: str
    """One sentence for people."""


def release_on_trial(view: DeploymentView) -> ReleaseId | None:
    """Return the active release if another one is the good release.

    It is in its soak, or was when a newer promotion pre-empted it, or it failed there and is still named by the socket.
    """
    good = view.good_release
    # There is no trial when there is nothing to go back to.
    if good is None:
        return None
    if view.active_release == good:
        return None
    # Still None while no socket has been written, or somebody edited it.
    return view.active_release


def has_failed_in_soak(view: DeploymentView, target: Target) -> bool:
    """Whether something counts against a release on trial.

    `why_failed_in_soak` says what it is, and when nothing does.
    """
    return why_failed_in_soak(view, target) is not None


def why_failed_in_soak(view: DeploymentView, target: Target) -> Fault | None:
    """Say what counts against a release on trial; None when nothing does.

    None, too, for a release that never got ready: its start has failed, which `start_failure` judges.
    """
    servers = servers_that_count(view, target.id)
    has_served = any(unit.ever_active for unit in servers)
    if not has_served:
        return None

    fault = why_bad(servers, target.rollout.max_error_rate)
    if fault is not None:
        return fault
    # Without an error, an end is a fault of some releases only.
    if _must_keep_running(view, target.id):
        return why_ended(servers)
    return None


def servers_that_count(view: DeploymentView, release: ReleaseId) -> list[Unit]:
    """List the servers by which a release is judged, in the order of their numbers.

    Left out is a server that the host failed at its first start: it says nothing about the release.
    """
    found: list[Unit] = []
    for name in view.servers(release):
        unit = view.seen.unit(name)
        failed_by_host = unit.active == "failed" and is_the_hosts_fault(unit)
        # A restart after an end is not the first start: whatever came of it, the end counts.
        ended_before = unit.restarts > 0
        if ended_before or not failed_by_host:
            found.append(unit)
    return found


def _must_keep_running(view: DeploymentView, release: ReleaseId) -> bool:
    """Whether an end without an error counts, too, be it by itself or by a person's hand.

    It does while the good release stands by: that one is loaded so that it can take over. A release that may be idle
    ends without a request, which is no fault.
    """
    good = view.good_release
    good_servers = view.servers(good) if good else []
    good_stands_by = any(view.seen.unit(unit).stands_by for unit in good_servers)
    may_end = view.facts(release).may_idle
    return good_stands_by and not may_end


def must_give_way(view: DeploymentView, release: ReleaseId) -> bool:
    """Whether the good release is to serve in place of a pre-empted candidate, until the target is ready.

    It is when the candidate is rejected, is down, or something counts against it. This is wider than
    `why_failed_in_soak`: it decides who serves meanwhile (`Phase.GOOD_SERVES_MEANWHILE`), not who is rejected.
    """
    is_rejected = view.record.rejection(release) is not None
    if is_rejected:
        return True
    is_down = not view.is_partly_up(release)
    if is_down:
        return True
    # All of its servers count here, also one that the host failed.
    servers = [view.seen.unit(unit) for unit in view.servers(release)]
    fault = why_bad(servers, view.inputs.rollout.max_error_rate)
    return fault is not None


def why_bad(units: Sequence[Unit], max_error_rate: int) -> Fault | None:
    """Say what counts against the servers of a release; None when nothing does.

    `max_error_rate`: percent of all their answers that may be errors of their own. One end is enough: systemd would
    start the server again and again, and clients would see the gaps. A fault of one server counts before the errors of
    all of them; of several servers' faults the first one is told.
    """
    for unit in units:
        if unit.floods:
            why = f"cannot keep {_release(unit)}: {WHY}"
            return Fault(Reason.FAILED_IN_SOAK, why)
        # Our server never reloads: a model's process says so to have systemd's deadlines put off.
        has_failed = unit.active in ("failed", "reloading")
        has_ended = unit.ends > 0
        if has_failed or has_ended:
            return Fault(Reason.FAILED_IN_SOAK, why_failed(unit))
    return _why_too_many_errors(units, max_error_rate)


def _why_too_many_errors(units: Sequence[Unit], max_error_rate: int) -> Fault | None:
    """Say that too many answers of the servers were errors of their own; None if that is not so, or not known yet.

    Each server counts from its own start, and what it last told counts here. The servers share the requests, so all
    their answers are counted together: each of them may have had few.
    """
    counters = [unit.counters for unit in units]
    requests = sum(counted.requests for counted in counters)
    errors = sum(counted.errors for counted in counters)
    if requests < ENOUGH_ANSWERS:
        return None
    # Multiplied rather than divided: the limit is a whole number, and so are the counters.
    is_over_limit = errors * 100 > max_error_rate * requests
    if not is_over_limit:
        return None
    # Over the limit there are errors, and so there is a server that has some. Its journal shows what was raised.
    worst = max(units, key=lambda unit: unit.counters.errors)
    last = one_line(status_lines.read_last_error(worst.status_text), MAX_ERROR)
    why = (
        f"cannot keep {_release(worst)}: {errors} of its first {requests} answers were errors of its own, "
        f"more than {max_error_rate} %{f', the last one {last}' if last else ''}; see the journal of {worst.name}"
    )
    return Fault(Reason.ERRORS_IN_SOAK, why)


def why_ended(units: Sequence[Unit]) -> Fault | None:
    """Say which server of a release ended as if it had been told to, or is about to; None when none is.

    A server that never got ready has not ended: it is being started.
    """
    for unit in units:
        is_ending = unit.active in ("inactive", "deactivating")
        if unit.ever_active and is_ending:
            return Fault(Reason.FAILED_IN_SOAK, why_failed(unit))
    return None


def _release(unit: Unit) -> str:
    """Name the release of a server in words, as they read after "cannot keep"."""
    server = names.parse_server(unit.name)
    if server is None:
        return "the release"
    return f"version {server.release.version} of {server.name}"
