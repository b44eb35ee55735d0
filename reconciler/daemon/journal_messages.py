"""The lines of the journal that matter, each with the MESSAGE_ID under which the catalog explains it."""

from reconciler.core.state.reason import Reason
from reconciler.core.state.status import Outlook, State

DESIRED = "2a6f0cf0b6b24f0d8e3a5a4f6c1d9e01"
REMOVED = "2a6f0cf0b6b24f0d8e3a5a4f6c1d9e02"
ACTION_FAILED = "2a6f0cf0b6b24f0d8e3a5a4f6c1d9e03"
SNAPSHOT_REFUSED = "2a6f0cf0b6b24f0d8e3a5a4f6c1d9e04"
SETTINGS_REFUSED = "2a6f0cf0b6b24f0d8e3a5a4f6c1d9e05"
REPAIRED = "2a6f0cf0b6b24f0d8e3a5a4f6c1d9e06"
# The ids are those of systemd/mlflow-reconciler.catalog. A line keeps its id for ever: people search for it.
_STATES = {
    State.PREPARING: "2a6f0cf0b6b24f0d8e3a5a4f6c1d9e11",
    State.ROLLING_OUT: "2a6f0cf0b6b24f0d8e3a5a4f6c1d9e12",
    State.SERVING: "2a6f0cf0b6b24f0d8e3a5a4f6c1d9e13",
    State.DEGRADED: "2a6f0cf0b6b24f0d8e3a5a4f6c1d9e14",
    State.FAILED: "2a6f0cf0b6b24f0d8e3a5a4f6c1d9e15",
    State.REMOVING: "2a6f0cf0b6b24f0d8e3a5a4f6c1d9e16",
    State.NOT_DEPLOYABLE: "2a6f0cf0b6b24f0d8e3a5a4f6c1d9e17",
    State.IDLE: "2a6f0cf0b6b24f0d8e3a5a4f6c1d9e18",
    State.STALLED: "2a6f0cf0b6b24f0d8e3a5a4f6c1d9e19",
    State.HELD: "2a6f0cf0b6b24f0d8e3a5a4f6c1d9e1a",
    State.SUSPENDED: "2a6f0cf0b6b24f0d8e3a5a4f6c1d9e1b",
    State.PENDING: "2a6f0cf0b6b24f0d8e3a5a4f6c1d9e1c",
}
_OF_A_NEW_RELEASE = frozenset({Reason.FAILED_IN_SOAK, Reason.ERRORS_IN_SOAK, Reason.ROLLED_BACK})
"""Reasons of a release that is not in service: its version is named, yet an earlier release of it serves."""


def message_id(state: State) -> str | None:
    """Return the id of a line that says a change of state."""
    return _STATES.get(state)


def state_sentence(outlook: Outlook) -> str:
    """Say a deployment's state in one line."""
    match outlook.state:
        case State.SERVING:
            line = f"version {outlook.active_version} of {outlook.name} is serving at {outlook.url}"
            says_more = outlook.reason or outlook.serves_untried
            return f"{line}: {outlook.message}" if says_more else line
        case State.DEGRADED if outlook.desired_version == outlook.active_version:
            version = f"version {outlook.desired_version} of {outlook.name}"
            if outlook.reason in _OF_A_NEW_RELEASE:
                return f"the new release of {version} is not serving, the one before it is: {outlook.message}"
            return f"{version} still serves, but not as it is wanted now: {outlook.message}"
        case State.DEGRADED:
            return (
                f"version {outlook.desired_version} of {outlook.name} is not serving, "
                f"version {outlook.active_version} is: {outlook.message}"
            )
        case State.FAILED:
            return f"version {outlook.desired_version} of {outlook.name} is not serving: {outlook.message}"
        case _:
            return f"{outlook.name} is {outlook.state}: {outlook.message}"
