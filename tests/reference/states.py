"""docs/reference/states.md: every state with what the command shows of it, and every reason with who has to act."""

from collections.abc import Iterator
from datetime import UTC, datetime
from enum import Enum

from reconciler.core.state.advice import to_do
from reconciler.core.state.reason import Reason
from reconciler.core.state.status import DeploymentStatus, State
from tests.reference.text import MADE, fold, item, markdown, page
from tests.reference.transcripts import as_recorded, scene
from tests.reference.words import words


class Who(Enum):
    """Who has to act."""

    NOBODY = "Nobody has to act"
    AUTHOR = "The author of the model has to act"
    EITHER = "The message says who has to act: the author of the model, or an operator"
    OPERATOR = "An operator of the host has to act"


_MOST = State.NOT_DEPLOYABLE
"""The scene in which most states were there at once."""
_LATER = (State.DEGRADED, State.FAILED)
"""The wanted release is not in service."""
_PREPARING = (State.PREPARING,)
_ROLLING_OUT = (State.ROLLING_OUT,)
_REMOVING = (State.REMOVING,)
_REPAIRED = (State.SERVING, *_LATER)
"""A step failed before a release serves, or as a repair of one that does."""
REASONS: dict[Reason, tuple[Who, tuple[State, ...]]] = {
    Reason.NONE: (Who.NOBODY, (State.SERVING, State.IDLE)),
    Reason.FETCHING: (Who.NOBODY, _PREPARING),
    Reason.BUILDING: (Who.NOBODY, _PREPARING),
    Reason.VERIFYING: (Who.NOBODY, _PREPARING),
    Reason.WAITING: (Who.NOBODY, (State.PREPARING, State.ROLLING_OUT)),
    Reason.STARTING: (Who.NOBODY, _ROLLING_OUT),
    Reason.TAKING_OVER: (Who.NOBODY, _ROLLING_OUT),
    Reason.SOAKING: (Who.NOBODY, _ROLLING_OUT),
    Reason.GOING_BACK: (Who.NOBODY, _ROLLING_OUT),
    Reason.SEVERAL_SELECTED: (Who.AUTHOR, (State.SERVING,)),
    Reason.SETTINGS_CHANGED: (Who.OPERATOR, (State.SERVING, State.IDLE)),
    Reason.NO_SNAPSHOT: (Who.OPERATOR, (State.PENDING, State.SERVING)),
    Reason.FETCH_FAILED: (Who.EITHER, _REPAIRED),
    Reason.BUILD_FAILED: (Who.EITHER, _REPAIRED),
    Reason.VERIFY_FAILED: (Who.EITHER, _REPAIRED),
    Reason.START_FAILED: (Who.AUTHOR, _LATER),
    Reason.SOCKET_FAILED: (Who.OPERATOR, _LATER),
    Reason.ACTION_FAILED: (Who.OPERATOR, (*_LATER, State.REMOVING)),
    Reason.FAILED_IN_SOAK: (Who.AUTHOR, (State.ROLLING_OUT, *_LATER)),
    Reason.ERRORS_IN_SOAK: (Who.AUTHOR, (State.ROLLING_OUT, *_LATER)),
    Reason.ROLLED_BACK: (Who.EITHER, _LATER),
    Reason.REFUSED: (Who.AUTHOR, _LATER),
    Reason.NO_EXAMPLE: (Who.AUTHOR, _LATER),
    Reason.FILES_CHANGED: (Who.AUTHOR, _LATER),
    Reason.NUMBER_USED_AGAIN: (Who.OPERATOR, _LATER),
    Reason.UNIT_NOT_OURS: (Who.OPERATOR, _LATER),
    Reason.NO_FREE_PORT: (Who.OPERATOR, _LATER),
    Reason.HELD: (Who.OPERATOR, (State.HELD,)),
    Reason.ANOTHER_SOURCE: (Who.OPERATOR, (State.HELD,)),
    Reason.NOT_CONFIRMED: (Who.OPERATOR, (State.HELD,)),
    Reason.OTHER_HOSTS_FIRST: (Who.OPERATOR, (State.PENDING,)),
    Reason.SUSPENDED: (Who.OPERATOR, (State.SUSPENDED,)),
    Reason.MENDED_TOO_OFTEN: (Who.OPERATOR, (State.STALLED,)),
    Reason.KEPT_FOR_A_WHILE: (Who.NOBODY, _REMOVING),
    Reason.NOT_SELECTED: (Who.NOBODY, _REMOVING),
    Reason.REPLACING_FILES: (Who.NOBODY, _REMOVING),
    Reason.NAME_NOT_ALLOWED: (Who.AUTHOR, (State.NOT_DEPLOYABLE,)),
    Reason.NOT_ALLOWED: (Who.OPERATOR, (State.NOT_DEPLOYABLE, *_LATER)),
    Reason.UNKNOWN: (Who.NOBODY, tuple(State)),
}
"""Who has to act, and the states that a reason can have, which tests of the planner hold to what it decides."""


def states_page() -> str:
    """Write docs/reference/states.md."""
    return page(
        "# States and reasons",
        MADE,
        fold(
            "`reconciler status` shows one state for each deployment, and `--json` adds a reason, one word for "
            "programs. A real host printed what this page shows: `python -m tests.reference.record` brings a "
            "deployment into each state and records it. [rollouts.md](../rollouts.md) has the picture of how a "
            "deployment goes from one state to the next; [tags.md](tags.md) says how the states look in the registry."
        ),
        "## All on one host",
        _table(_MOST),
        "## States",
        *(block for state in State for block in _state(state)),
        "## Reasons",
        *(block for who in Who for block in _reasons(who)),
    )


def _state(state: State) -> Iterator[str]:
    told = scene(state)
    yield f"### {state}"
    yield fold(words(State)[state.name])
    yield fold(told.happened)
    if state not in {one.state for one in scene(_MOST).status.deployments}:
        yield _table(state)
    with as_recorded():
        yield _console(f"reconciler status {told.name}", told.one())


def _table(state: State) -> str:
    with as_recorded():
        return _console("reconciler status", scene(state).table())


def _console(command: str, lines: list[str]) -> str:
    return "\n".join(("```console", f"$ {command}", *(line.rstrip() for line in lines), "```"))


def _reasons(who: Who) -> Iterator[str]:
    yield f"### {who.value}"
    yield "\n".join(_reason(reason) for reason, (acts, _) in REASONS.items() if acts is who)


def _reason(reason: Reason) -> str:
    _, states = REASONS[reason]
    with_states = "any state" if set(states) == set(State) else ", ".join(f"`{state}`" for state in states)
    name = f"`{reason}`" if reason else "(empty)"
    one = DeploymentStatus(name="NAME", state=states[0], reason=reason, since=datetime(2026, 1, 1, tzinfo=UTC))
    text = words(Reason)[reason.name]
    if advice := to_do(one):
        text += f" To do: {markdown(advice)}."
    return item(f"{name}, with {with_states}", text)
