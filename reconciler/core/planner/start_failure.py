"""Whether a release whose start failed is rejected, by what systemd knows of it; its own word only delays that."""

from dataclasses import dataclass, replace

from reconciler.core.planner.deployment_view import DeploymentView
from reconciler.core.planner.overdue import is_overdue
from reconciler.core.planner.target import Target
from reconciler.core.units.failures import is_the_hosts_fault, may_be_the_hosts_fault, why_failed
from reconciler.core.units.observed import Unit

MOST_TRIES = 3
"""How often a release is tried whose server says that the host failed it."""


@dataclass(frozen=True)
class StartFailure:
    """A server that did not start."""

    server: str
    why: str
    """One sentence for people."""


def why_to_reject(view: DeploymentView, target: Target) -> StartFailure | None:
    """Say why a target is to be rejected for the way in which it starts; None when it is not.

    It is rejected when a server is late, or has failed and has no excuse that still counts.
    """
    if not _may_be_rejected(view, target):
        return None

    late = _late_server(view, target)
    if late is not None:
        # systemd does not call it a time-out: the server had it put off again and again.
        timed_out = replace(late, active="failed", result="timeout")
        return StartFailure(late.name, why_failed(timed_out))

    failures = starts_to_retry_later(view, target)
    if not failures:
        return None
    # The first server is the only one that is judged: the next one is started when this one is ready.
    unit = view.seen.unit(failures[0].server)
    if not unit.has_failed or _has_an_excuse(view, unit):
        return None
    return failures[0]


def starts_to_retry_later(view: DeploymentView, target: Target) -> list[StartFailure]:
    """List the target's servers that failed and must not be started yet, in the order of their numbers.

    The rollout is in `Phase.RETRY_LATER` then, unless such a failure counts against the target (`why_to_reject`). Once
    the wait is over a server is not among them, although systemd still calls it failed: then it is tried again.
    """
    waits = view.inputs.retry_later
    failed = [unit for unit in view.servers(target.id) if unit in waits]
    return [StartFailure(unit, waits[unit]) for unit in failed]


def _late_server(view: DeploymentView, target: Target) -> Unit | None:
    """Find a server that is still starting though it had systemd put off its start timeout; None when there is none.

    `overdue.end_what_is_overdue` ends it by force besides, whether its release is rejected or not.
    """
    for name in view.servers(target.id):
        unit = view.seen.unit(name)
        is_starting = unit.active == "activating"
        # One that stops or reloads may be overdue, too, but that says nothing about its start.
        if is_starting and is_overdue(view, unit):
            return unit
    return None


def _may_be_rejected(view: DeploymentView, target: Target) -> bool:
    """Whether a target never proved itself, and a rejection leaves the deployment better off.

    Of a first release some servers may accept requests although another one does not start. They are all that there is,
    so such a release is tried for ever.
    """
    # A release that served here before, and does not start now, has met something that a rejection does not mend.
    has_proved_itself = target.id in (view.record.good, *view.record.before)
    if has_proved_itself:
        return False

    is_first = view.good_release is None and view.active_release in (None, target.id)
    is_all_there_is = is_first and view.is_partly_up(target.id)
    return not is_all_there_is


def _has_an_excuse(view: DeploymentView, unit: Unit) -> bool:
    """Whether the host failed a server, so that its release is not to blame.

    systemd's word for that always counts. What a server says itself counts a few times only: a model could say it for
    ever, and would be tried for ever.
    """
    if is_the_hosts_fault(unit):
        return True
    tries = view.inputs.tries.get(unit.name, 1)
    return may_be_the_hosts_fault(unit) and tries < MOST_TRIES
