"""The plan for one deployment, as far as no operator and no budget says that the deployment is to be left alone."""

from dataclasses import replace

from reconciler.core.planner import actions as act
from reconciler.core.planner.bridge import keep_bridge, plan_bridge, wait_for_bridge
from reconciler.core.planner.compose_unit import plan_compose_unit
from reconciler.core.planner.decide import decide
from reconciler.core.planner.deployment_plan import DeploymentPlan
from reconciler.core.planner.guard import Wait
from reconciler.core.planner.overdue import end_what_is_overdue
from reconciler.core.planner.removal import is_ended
from reconciler.core.planner.unproved import tell_unproved
from reconciler.core.state.reason import Reason
from reconciler.core.state.release import Refused, Release
from reconciler.core.state.status import Outlook, State
from reconciler.core.units import names

NAMED_ACTIONS = 3
"""How many of the actions that are left undone a status names."""


def plan_deployment(deployment: DeploymentPlan, desired: Release | Refused | None, wait: Wait | None) -> Outlook:
    """Plan one deployment and return its status.

    `desired` is what the registry selects for it, None when it selects nothing; `wait` is why the deployment has to
    stay as it is until an operator confirms, None when it need not. What should be done is decided in any case: the
    status of a deployment that is left alone says what is left undone.
    """
    version = desired.version if desired is not None else None
    if isinstance(desired, Release):
        desired = _after_one_that_asks_itself(deployment, desired)
    outlook = decide(deployment, desired, wait)
    if isinstance(desired, Release) and wait is None:
        plan_bridge(deployment, desired)
        plan_compose_unit(deployment)
    elif wait is not None and not is_ended(deployment):
        keep_bridge(deployment)
        deployment.restore_files([names.compose_unit(deployment.name)])
    wait_for_bridge(deployment)
    end_what_is_overdue(deployment)
    why = _why_left_alone(deployment)
    # An operator's word comes first: a suspended deployment is not called stalled.
    if why is not None:
        message = f"{why}{_left_undone(deployment)}"
        deployment.drop()
        return deployment.outlook(State.SUSPENDED, version, Reason.SUSPENDED, message)
    stalled = deployment.record.stalled
    is_present = desired is not None or wait is not None
    # Another release ends the stall: it may be the cure.
    if stalled is not None and is_present and stalled.release == _stall_key(desired):
        deployment.drop()
        return deployment.outlook(State.STALLED, version, Reason.MENDED_TOO_OFTEN, stalled.message)
    has_budget = deployment.name not in deployment.inputs.exhausted
    if has_budget or not deployment.repairs:
        return tell_unproved(deployment, outlook)
    why = _why_stalled(deployment)
    # Signals are sent nevertheless: a server that has to be killed or put into standby cannot wait for an operator.
    deployment.before = [act.StallDeployment(deployment.name, "", _stall_key(desired), why)]
    deployment.after = []
    return deployment.outlook(State.STALLED, version, Reason.MENDED_TOO_OFTEN, why)


def _after_one_that_asks_itself(deployment: DeploymentPlan, release: Release) -> Release:
    """Have a release start after one has ended whose container takes requests by itself: it cannot stand by."""
    active = deployment.active_release
    if active in (None, release.id) or not deployment.facts(active or "").asks_itself:
        return release
    return replace(release, rollout=replace(release.rollout, strategy="recreate"))


def _why_stalled(deployment: DeploymentPlan) -> str:
    """Say that something undoes every repair, with one that is due again, and what an operator can do about it.

    The status and the journal show this until the stall ends.
    """
    return (
        f"cannot keep {deployment.name} as it should be: something undoes every repair (the last: "
        f"{deployment.repairs[0]}); find out what does, then reconciler retry {deployment.name}"
    )


def _stall_key(desired: Release | Refused | None) -> str:
    """Return what the ledger remembers of the desired release with a stall. Anything else ends the stall.

    A refused version has no release, so its number stands for it; nothing stands for a deployment that is removed.
    """
    if desired is None:
        return ""
    if isinstance(desired, Refused):
        return f"refused {desired.version}"
    return desired.id


def _why_left_alone(deployment: DeploymentPlan) -> str | None:
    """Say who wants nothing to be done to the deployment; None when nobody does.

    An operator suspends a deployment by a command, or by masking any of its units (`systemctl mask`). The command
    comes first in the answer, because it has a reason and an end.
    """
    suspended = deployment.record.suspended
    if suspended is not None:
        return suspended.sentence
    masked = [unit for unit in deployment.files() if deployment.seen.files[unit].masked]
    return f"suspended, because somebody masked {masked[0]}" if masked else None


def _left_undone(deployment: DeploymentPlan) -> str:
    """Say which actions are left undone, as the end of a sentence; empty when there are none.

    Notes are not named: they change nothing on the host. The first actions are named, in the order in which they would
    be done, and the others are counted.
    """
    planned = (*deployment.signals, *deployment.before, *deployment.after)
    undone = [str(action) for action in planned if not isinstance(action, act.Note)]
    if not undone:
        return ""
    named = ", ".join(undone[:NAMED_ACTIONS])
    others = len(undone) - NAMED_ACTIONS
    more = f" and {others} more" if others > 0 else ""
    return f"; left undone: {named}{more}"
