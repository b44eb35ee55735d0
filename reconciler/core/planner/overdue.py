"""The part of the plan that ends by force what does not do in time what it was told, whatever it tells systemd."""

from reconciler.core.planner import actions as act
from reconciler.core.planner.deployment_plan import DeploymentPlan
from reconciler.core.planner.deployment_view import DeploymentView
from reconciler.core.units import names
from reconciler.core.units.observed import Unit

WHY = "it has been starting, stopping or reloading for longer than its unit allows"


def is_overdue(view: DeploymentView, unit: Unit) -> bool:
    """Whether a unit has been starting, stopping or reloading for longer than it may.

    systemd sees to that itself and comes first, unless the unit's process has its deadlines put off.
    """
    due = unit.overdue_at(view.inputs.patience)
    return due is not None and view.inputs.now >= due


def end_what_is_overdue(deployment: DeploymentPlan) -> None:
    """Plan that servers which are overdue are killed, and that the others are looked at again when they would be.

    Only servers run code of a model, which may have systemd's deadlines put off for ever.
    """
    for name in deployment.files():
        is_server = names.parse_server(name) is not None
        if not is_server:
            continue
        unit = deployment.seen.unit(name)
        due = unit.overdue_at(deployment.inputs.patience)
        if due is None:
            continue
        if is_overdue(deployment, unit):
            deployment.signals.append(act.Kill(deployment.name, name, WHY))
            # The kernel may take its time.
            due = deployment.inputs.now + deployment.inputs.patience
        deployment.deadlines.append(due)
