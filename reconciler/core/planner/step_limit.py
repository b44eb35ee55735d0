"""How many steps run at once on a host: each takes memory, disk and processors, which what serves needs more."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from reconciler.core.planner import actions as act
from reconciler.core.planner.actions import Action
from reconciler.core.planner.deployment_view import DeploymentView
from reconciler.core.planner.inputs import PlannerInputs
from reconciler.core.state.reason import Reason
from reconciler.core.state.status import Outlook, State
from reconciler.core.units import names
from reconciler.core.units.names import ReleaseId, Step
from reconciler.core.units.observed import Observed

# Finish what is begun: a release that needs its last step only serves sooner than one that needs them all.
_NEAREST_TO_THE_END_FIRST = (Step.VERIFY, Step.BUILD, Step.FETCH)


def late(after: Iterable[Action], seen: Observed, inputs: PlannerInputs) -> dict[str, str]:
    """Return the steps in a plan that must not start yet, each with the deployment that it is for.

    What brings back something that served and is down does not wait for anything else. Of the others those come first
    that have not failed, then those that are nearest to their deployment's end.
    """
    starts = _steps_to_start(after)
    running = [unit for unit, state in seen.units.items() if state.active == "activating" and step_of(unit)]
    under_way = {unit: names.deployment_of(unit) or "" for unit in running}
    urgent = _urgent(starts, seen, inputs) | _urgent(under_way, seen, inputs)
    # Urgent steps are limited among each other only. They use up the places of the others, which may fall below 0.
    urgent_places = inputs.parallel_steps - len(urgent & under_way.keys())
    places = inputs.parallel_steps - len(running)
    waiting = {}
    for unit in _in_turn(starts, urgent, inputs):
        is_urgent = unit in urgent
        free = urgent_places if is_urgent else places
        if free <= 0:
            waiting[unit] = starts[unit]
            continue
        # It takes the place of another step also where it had a place of its own.
        places -= 1
        if is_urgent:
            urgent_places -= 1
    return waiting


def without(late: Iterable[str], after: Iterable[Action]) -> list[Action]:
    """Return the actions without those that start one of these units.

    The failure of a unit that does not start yet is not cleared either: people should see it until then.
    """
    units = set(late)
    # Files are written all the same: `after` has nothing of that, and the step is planned again in the next pass.
    left = []
    for action in after:
        is_for_a_start = isinstance(action, act.Start | act.ResetFailed)
        if not (is_for_a_start and action.unit in units):
            left.append(action)
    return left


def told(late: Mapping[str, str], outlooks: Sequence[Outlook], parallel_steps: int) -> list[Outlook]:
    """Return the outlooks in which deployments that are being prepared say that they wait for their turn.

    A deployment in another state has more important things to say.
    """
    steps = {deployment: step_of(unit) for unit, deployment in late.items()}
    others = "another is" if parallel_steps == 1 else f"{parallel_steps} others are"
    why = f"{others} running (reconcile.parallel_steps)"
    result = []
    for outlook in outlooks:
        step = steps.get(outlook.name)
        if step is not None and outlook.state is State.PREPARING:
            message = f"waits for its turn to {step} version {outlook.desired_version}: {why}"
            result.append(outlook.model_copy(update={"reason": Reason.WAITING, "message": message}))
        else:
            result.append(outlook)
    return result


def step_of(unit: str) -> Step | None:
    """Return the step that a unit takes; None for a unit that takes none.

    A build makes an environment, which deployments share, so its name is no `StepUnit`.
    """
    step = names.parse_step(unit)
    if step is not None:
        return step.step
    is_build = names.parse_build(unit) is not None
    if is_build:
        return Step.BUILD
    return None


def _steps_to_start(after: Iterable[Action]) -> dict[str, str]:
    """Return the steps that a plan starts, each with the deployment that it is for, in the order of the plan."""
    starts = {}
    for action in after:
        if isinstance(action, act.Start) and step_of(action.unit) is not None:
            starts[action.unit] = action.deployment
    return starts


def _in_turn(units: Iterable[str], urgent: Collection[str], inputs: PlannerInputs) -> list[str]:
    """Sort steps by whose turn comes first; those that are equal stay in the order of the plan."""

    def turn(unit: str) -> tuple[bool, bool, int]:
        step = step_of(unit)
        rank = len(_NEAREST_TO_THE_END_FIRST)
        if step is not None:
            rank = _NEAREST_TO_THE_END_FIRST.index(step)
        # What failed is likely to fail again: it must not take the place of what may work.
        return unit not in urgent, unit in inputs.failed, rank

    return sorted(units, key=turn)


def _urgent(steps: Mapping[str, str], seen: Observed, inputs: PlannerInputs) -> set[str]:
    """Pick the steps for a release that served, of whose deployment nothing answers now.

    `steps` has the deployment of each. A build that runs is known to be for none, so it is never among them.
    """
    urgent = set()
    for unit, name in steps.items():
        deployment = DeploymentView(name, seen, inputs)
        served = [release for release in (deployment.active_release, deployment.good_release) if release]
        # Clients are answered, so there is time.
        if any(deployment.is_partly_up(release) for release in served):
            continue
        if any(_is_for(unit, release, deployment) for release in served):
            urgent.add(unit)
    return urgent


def _is_for(unit: str, release: ReleaseId, deployment: DeploymentView) -> bool:
    """Whether a step is one of those that a release of the deployment needs.

    Fetching and verifying are for a version, building is for an environment.
    """
    step = names.parse_step(unit)
    if step is not None:
        return step.version == release.version
    environment = names.parse_build(unit)
    return environment is not None and deployment.facts(release).environment == environment
