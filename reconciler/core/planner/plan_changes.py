"""From the actions of a plan to the lines of a diff: one for each unit that something is done to."""

from collections.abc import Collection, Iterable, Mapping

from reconciler.core.planner import actions as act
from reconciler.core.planner.actions import Action
from reconciler.core.state.plan_document import Sign, UnitChange
from reconciler.core.units import names
from reconciler.core.units.observed import Observed

Users = Mapping[str, Collection[str]]
"""The deployments that use the environment which a unit builds, by that unit."""


def changes_of(actions: Iterable[Action], seen: Observed, users: Users) -> tuple[UnitChange, ...]:
    """Return one line for each unit, in the order in which their first actions are done.

    A note is a line of its own.
    """
    by_unit: dict[str, list[Action]] = {}
    lines: list[list[Action]] = []
    for action in actions:
        if isinstance(action, act.Note | act.Reload):
            lines.append([action])
        elif action.unit in by_unit:
            by_unit[action.unit].append(action)
        else:
            lines.append(by_unit.setdefault(action.unit, [action]))
    return tuple(_line(line, seen, users) for line in lines)


def environment_users(seen: Observed, actions: Iterable[Action]) -> dict[str, set[str]]:
    """Find the deployments that use each environment: by what their fetches said, and by what is planned for them."""
    users: dict[str, set[str]] = {}
    for name in seen.by_deployment:
        for unit in seen.builds_of(name):
            users.setdefault(unit, set()).add(name)
    for action in actions:
        if action.deployment and names.parse_build(action.unit) is not None:
            users.setdefault(action.unit, set()).add(action.deployment)
    return users


def _line(actions: list[Action], seen: Observed, users: Users) -> UnitChange:
    first = actions[0]
    if isinstance(first, act.Note | act.Reload):
        return UnitChange(sign="~", unit="", what=str(first))
    unit = first.unit
    models = tuple(sorted(users.get(unit, ()))) if names.parse_build(unit) is not None else None
    return UnitChange(sign=_sign(actions, seen), unit=unit, what=", ".join(map(_words, actions)), models=models)


def _sign(actions: list[Action], seen: Observed) -> Sign:
    if any(isinstance(action, act.Remove | act.Clean) for action in actions):
        return "-"
    is_written = any(isinstance(action, act.Render) for action in actions)
    return "+" if is_written and actions[0].unit not in seen.files else "~"


def _words(action: Action) -> str:
    """Return an action's words without its unit, which the line begins with."""
    if isinstance(action, act.Kill):
        return f"kill: {action.why}"
    return action.verb.removesuffix(" of")
