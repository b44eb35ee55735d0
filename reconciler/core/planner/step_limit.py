"""How many steps run at once on a host: each takes memory, disk and processors, which what serves needs more."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from reconciler.core.planner import actions as act
from reconciler.core.planner.actions import Action
from reconciler.core.planner.deployment_view import DeploymentView
from reconciler.core.planner.inputs import PlannerInputs
from reconciler.core.planner.places import without_place
from reconciler.core.state.reason import Reason
from reconciler.core.state.status import Outlook, State
from reconciler.core.units import names
from reconciler.core.units.names import ReleaseId, Step
from reconciler.core.units.observed import Observed

# Finish what is begun: a release that needs its last step only serves sooner than one that needs them all.
_NEAREST_TO_THE_END_FIRST = (Step.VERIFY, Step.BUILD, Step.FETCH)


def late(after: Iterable[Action], seen: Observed, inputs: PlannerInputs) -> dict[str, str]:
    """Return the steps in a plan that must not start yet, each with the deployment that it is for.

    Urgent are those that bring back something that served and is down: they do not wait for anything else. Of the
    others those come first that have not failed, then those that are nearest to their deployment's end. No more than
    `parallel_steps` run at once: see `places.without_place`.
    """
    starts = _steps_to_start(after)
    running = _running_steps(seen)
    urgent = _urgent(starts, seen, inputs) | _urgent(running, seen, inputs)
    waiting = without_place(_in_turn(starts, urgent, inputs), running, urgent, inputs.parallel_steps)
    return {unit: starts[unit] for unit in waiting}


def without(late: Iterable[str], after: Iterable[Action]) -> list[Action]:
    """Return the actions without those that start one of these units.

    The failure of a unit that does not start yet is not cleared either: people should see it until then.
    """
    units = set(late)
    # Files are written all the same: `after` has nothing of that, and the step is planned again in the next pass.
    left = []
    for action in after:
        is_for_a_start = isinstance(action, act.Start | act.ResetFailed)
        is_late = is_for_a_start and action.unit in units
        if not is_late:
            left.append(action)
    return left


def told(late: Mapping[str, str], outlooks: Sequence[Outlook], parallel_steps: int) -> list[Outlook]:
    """Return the outlooks in which deployments that are being prepared say that they wait for their turn.

    A deployment in another state has more important things to say. The order stays.
    """
    # Of several steps of one deployment that wait, the last is told: a person needs one sentence only.
    steps = {deployment: step_of(unit) for unit, deployment in late.items()}
    others = "another is" if parallel_steps == 1 else f"{parallel_steps} others are"
    why = f"{others} running (reconcile.parallel_steps)"
    result = []
    for outlook in outlooks:
        step = steps.get(outlook.name)
        waits_for_its_turn = step is not None and outlook.state is State.PREPARING
        if waits_for_its_turn:
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


def _running_steps(seen: Observed) -> dict[str, str]:
    """Return the steps that run now, each with the deployment that it is for.

    A build is for none that is known here: deployments share environments. Its deployment is empty.
    """
    running = {}
    for unit, state in seen.units.items():
        # A step that is done stays "active": it takes no place any more.
        is_starting = state.active == "activating"
        if is_starting and step_of(unit) is not None:
            running[unit] = names.deployment_of(unit) or ""
    return running


def _steps_to_start(after: Iterable[Action]) -> dict[str, str]:
    """Return the steps that a plan starts, each with the deployment that it is for, in the order of the plan."""
    starts = {}
    for action in after:
        is_step = step_of(action.unit) is not None
        if is_step and isinstance(action, act.Start):
            starts[action.unit] = action.deployment
    return starts


def _in_turn(units: Iterable[str], urgent: Collection[str], inputs: PlannerInputs) -> list[str]:
    """Sort steps by whose turn comes first; those that are equal stay in the order of the plan."""

    # False sorts before True.
    def turn(unit: str) -> tuple[bool, bool, int]:
        step = step_of(unit)
        rank = len(_NEAREST_TO_THE_END_FIRST)
        if step is not None:
            rank = _NEAREST_TO_THE_END_FIRST.index(step)
        has_time = unit not in urgent
        # What failed is likely to fail again: it must not take the place of what may work.
        has_failed = unit in inputs.failed
        return has_time, has_failed, rank

    return sorted(units, key=turn)


def _urgent(steps: Mapping[str, str], seen: Observed, inputs: PlannerInputs) -> set[str]:
    """Pick the steps for a release that served, of whose deployment nothing answers now.

    `steps` has the deployment of each. A build that runs is known to be for none, so it is never among them.
    """
    urgent = set()
    for unit, name in steps.items():
        deployment = DeploymentView(name, seen, inputs)
        served = [release for release in (deployment.active_release, deployment.good_release) if release]
        clients_are_answered = any(deployment.is_partly_up(release) for release in served)
        if clients_are_answered:
            continue
        # A step for a new version brings nothing back, so it has time, also where nothing answers.
        brings_back = any(_is_for(unit, release, deployment) for release in served)
        if brings_back:
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
