"""How many servers load their models at once on a host: each load takes a processor, which what serves needs more."""

from collections.abc import Iterable, Mapping, Sequence

from reconciler.core.planner import actions as act
from reconciler.core.planner.actions import Action
from reconciler.core.planner.deployment_view import DeploymentView
from reconciler.core.planner.inputs import PlannerInputs
from reconciler.core.planner.places import without_place
from reconciler.core.state.reason import Reason
from reconciler.core.state.status import Outlook, State
from reconciler.core.units import names
from reconciler.core.units.observed import Observed


def late(after: Iterable[Action], seen: Observed, inputs: PlannerInputs) -> dict[str, str]:
    """Return the servers in a plan that must not start yet, each with its deployment.

    No more than `parallel_starts` load at once, whoever started them. Urgent are those that bring back a release that
    proved itself and of whose deployment nothing answers: `places.without_place` says what that means.
    """
    starts = _servers_to_start(after)
    if not starts:
        return {}
    loading = _loading(seen)
    urgent = {unit for unit, name in {**loading, **starts}.items() if _is_urgent(unit, name, seen, inputs)}
    # False sorts before True. What failed is likely to fail again: it must not take the place of what may work.
    in_turn = sorted(starts, key=lambda unit: (unit not in urgent, unit in inputs.failed))
    waiting = without_place(in_turn, loading, urgent, inputs.parallel_starts)
    return {unit: starts[unit] for unit in waiting}


def told(late: Mapping[str, str], outlooks: Sequence[Outlook], parallel_starts: int) -> list[Outlook]:
    """Return the outlooks in which deployments that would load a release say that they wait for their turn."""
    deployments = set(late.values())
    others = "another is" if parallel_starts == 1 else f"{parallel_starts} others are"
    why = f"{others} loading (reconcile.parallel_starts)"
    result = []
    for outlook in outlooks:
        if outlook.name in deployments and outlook.state is State.ROLLING_OUT:
            message = f"waits for its turn to load version {outlook.desired_version}: {why}"
            outlook = outlook.model_copy(update={"reason": Reason.WAITING, "message": message})
        result.append(outlook)
    return result


def _servers_to_start(after: Iterable[Action]) -> dict[str, str]:
    """Return the servers that a plan starts, each with its deployment, in the order of the plan."""
    starts = [action for action in after if isinstance(action, act.Start)]
    return {action.unit: action.deployment for action in starts if names.parse_server(action.unit) is not None}


def _loading(seen: Observed) -> dict[str, str]:
    """Return the servers that load just now, each with its deployment.

    One that has ended and waits for its restart is not among them: else two that fail for ever would hold up all.
    """
    found = {}
    for unit, state in seen.units.items():
        server = names.parse_server(unit)
        if server is not None and state.active == "activating" and state.sub != "auto-restart":
            found[unit] = server.name
    return found


def _is_urgent(unit: str, name: str, seen: Observed, inputs: PlannerInputs) -> bool:
    """Whether a server belongs to a release that served, or takes the place of one, and nothing answers meanwhile."""
    server, deployment = names.parse_server(unit), DeploymentView(name, seen, inputs)
    # A first release has nobody yet who relies on it.
    has_served = bool(deployment.record.proven())
    needed = [release for release in (deployment.active_release, deployment.good_release) if release is not None]
    clients_are_answered = any(deployment.is_partly_up(release) for release in needed)
    return server is not None and has_served and server.release in needed and not clients_are_answered
