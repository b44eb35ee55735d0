"""How many steps run at once on a host: each takes memory, disk and processors, which what serves needs more."""

from collections.abc import Iterable, Sequence

from reconciler.core.planner import actions as act
from reconciler.core.planner.actions import Action
from reconciler.core.planner.deployment_view import DeploymentView
from reconciler.core.planner.inputs import PlannerInputs
from reconciler.core.state.reason import Reason
from reconciler.core.state.status import Outlook, State
from reconciler.core.units import names
from reconciler.core.units.names import Step
from reconciler.core.units.observed import Observed

_NEAR_THE_END = (Step.VERIFY, Step.BUILD, Step.FETCH)


def late(after: Iterable[Action], seen: Observed, inputs: PlannerInputs) -> dict[str, str]:
    """Find the steps that are not started yet, each with the deployment that it is for.

    What brings back something that served and is down does not wait for anything else. Of the others those come first
    that have not failed, then those that are nearest to their deployment's end.
    """
    starts = {one.unit: one.deployment for one in after if isinstance(one, act.Start) and step_of(one.unit)}
    running = [unit for unit, state in seen.units.items() if state.active == "activating" and step_of(unit)]
    urgent = {unit for unit, name in starts.items() if _brings_back(unit, name, seen, inputs)}
    urgent |= {unit for unit in running if _brings_back(unit, names.deployment_of(unit) or "", seen, inputs)}
    places = {True: inputs.parallel_steps - len(urgent & set(running)), False: inputs.parallel_steps}
    places[False] -= len(running)
    waiting = {}
    for unit in sorted(starts, key=lambda unit: (unit not in urgent, *_rank(unit, inputs))):
        if places[unit in urgent] <= 0:
            waiting[unit] = starts[unit]
        else:
            places[unit in urgent] -= 1
            places[False] -= unit in urgent
    return waiting


def without(late: Iterable[str], after: Iterable[Action]) -> list[Action]:
    """Leave out what is not started yet."""
    units = set(late)
    return [one for one in after if not (isinstance(one, act.Start | act.ResetFailed) and one.unit in units)]


def told(late: dict[str, str], outlooks: Sequence[Outlook], parallel_steps: int) -> list[Outlook]:
    """Say of what is being prepared that it waits."""
    others = "another is" if parallel_steps == 1 else f"{parallel_steps} others are"
    why = f"{others} running (reconcile.parallel_steps)"
    waits = {name: f"waits for its turn to {step_of(unit)}" for unit, name in late.items()}
    return [
        one.model_copy(
            update={"reason": Reason.WAITING, "message": f"{waits[one.name]} version {one.desired_version}: {why}"}
        )
        if one.name in waits and one.state is State.PREPARING
        else one
        for one in outlooks
    ]


def step_of(unit: str) -> Step | None:
    """Name the step that a unit takes; None for what is no step."""
    step = names.parse_step(unit)
    if step:
        return step.step
    return Step.BUILD if names.parse_build(unit) else None


def _rank(unit: str, inputs: PlannerInputs) -> tuple[bool, int]:
    return unit in inputs.failed, _NEAR_THE_END.index(step) if (step := step_of(unit)) else len(_NEAR_THE_END)


def _brings_back(unit: str, name: str, seen: Observed, inputs: PlannerInputs) -> bool:
    """Whether a step is for a release that served, and nothing of its deployment answers."""
    deployment = DeploymentView(name, seen, inputs)
    served = [one for one in (deployment.active_release, deployment.good_release) if one]
    if any(deployment.is_partly_up(one) for one in served):
        return False
    step, environment = names.parse_step(unit), names.parse_build(unit)
    return any(
        (step is not None and step.version == one.version)
        or (environment is not None and deployment.facts(one).environment == environment)
        for one in served
    )
