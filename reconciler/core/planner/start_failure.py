"""Whether a release whose start failed is rejected, by what systemd knows of it; its own word only delays that."""

from dataclasses import replace

from reconciler.core.planner import actions as act
from reconciler.core.planner.deployment_plan import DeploymentPlan
from reconciler.core.planner.overdue import is_overdue
from reconciler.core.planner.target import Target
from reconciler.core.state.reason import Reason
from reconciler.core.state.status import Outlook
from reconciler.core.units.failures import is_the_hosts_fault, may_be_the_hosts_fault, why_failed
from reconciler.core.units.observed import Unit

MOST_TRIES = 3
"""How often a release is tried whose server says that the host failed it."""


def late(deployment: DeploymentPlan, target: Target) -> Outlook | None:
    """Reject a target that had systemd put off its start timeout; whatever is late is ended by force besides."""
    seen = [deployment.seen.unit(unit) for unit in deployment.servers(target.id)]
    late = [unit for unit in seen if unit.active == "activating" and is_overdue(deployment, unit)]
    if not late or not may_be_rejected(deployment, target):
        return None
    why = why_failed(replace(late[0], active="failed", result="timeout"))
    deployment.before.append(
        act.Reject(deployment.name, late[0].name, target.id, Reason.START_FAILED, why, target.asked(deployment))
    )
    return deployment.blocked(target.version, Reason.START_FAILED, why)


def may_be_rejected(deployment: DeploymentPlan, target: Target) -> bool:
    """Whether it never proved itself, and there is something better than some servers of a first release."""
    proven = target.id in (deployment.record.good, *deployment.record.before)
    first = deployment.good_release is None and deployment.active_release in (None, target.id)
    return not proven and not (first and deployment.is_partly_up(target.id))


def has_an_excuse(deployment: DeploymentPlan, unit: Unit) -> bool:
    """Whether the host failed a server. What may be its own word for that is taken a few times, not for ever."""
    tries = deployment.inputs.tries.get(unit.name, 1)
    return is_the_hosts_fault(unit) or (may_be_the_hosts_fault(unit) and tries < MOST_TRIES)
