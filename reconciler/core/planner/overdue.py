"""The part of the plan that ends by force what does not do in time what it was told, whatever it tells systemd."""

from reconciler.core.planner import actions as act
from reconciler.core.planner.deployment_plan import Draft
from reconciler.core.units import names
from reconciler.core.units.observed import Unit

WHY = "it has been starting, stopping or reloading for longer than its unit allows"


def is_overdue(draft: Draft, unit: Unit) -> bool:
    """Whether a unit has been starting, stopping or reloading for longer than it may."""
    due = unit.overdue_at(draft.situation.patience)
    return due is not None and draft.situation.now >= due


def end_what_is_overdue(draft: Draft) -> None:
    """Have the servers killed that are overdue, and the others looked at again when they would be."""
    for name in draft.files():
        unit = draft.seen.unit(name)
        due = unit.overdue_at(draft.situation.patience) if names.parse_server(name) else None
        if due is None:
            continue
        if is_overdue(draft, unit):
            draft.signals.append(act.Kill(draft.name, name, WHY))
            due = draft.situation.now + draft.situation.patience  # the kernel may take its time
        draft.deadlines.append(due)
