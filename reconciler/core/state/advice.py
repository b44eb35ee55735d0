"""What a deployment waits for, and what a person can do about it, by the reason of its state."""

from reconciler.core.state.reason import Reason
from reconciler.core.state.status import DeploymentStatus, State

_RETRY = "mend what the message names; reconciler retry {name} tries it at once"
_ANOTHER = "promote another version, or have this one tried again: reconciler retry {name}"
_TO_DO = {
    Reason.NO_SNAPSHOT: "reconciler check says why there is no snapshot of the registry",
    Reason.SEVERAL_SELECTED: "leave one version in the stage",
    Reason.SETTINGS_CHANGED: "reconciler rollout {name} takes the settings of now",
    Reason.FETCH_FAILED: _RETRY,
    Reason.BUILD_FAILED: _RETRY,
    Reason.VERIFY_FAILED: _RETRY,
    Reason.SOCKET_FAILED: _RETRY,
    Reason.ACTION_FAILED: _RETRY,
    Reason.START_FAILED: _ANOTHER,
    Reason.FAILED_IN_SOAK: _ANOTHER,
    Reason.ERRORS_IN_SOAK: _ANOTHER,
    Reason.ROLLED_BACK: "reconciler retry {name} tries the version again; promoting another one takes its place",
    Reason.REFUSED: "change the tag that the message names, or promote another version",
    Reason.NO_EXAMPLE: "register a version with a logged example, or change policy.require_example in config.toml",
    Reason.FILES_CHANGED: "register the files as a new version, and promote that",
    Reason.NUMBER_USED_AGAIN: "if the other model is to take its place: reconciler rollout {name} --replace-files",
    Reason.UNIT_NOT_OURS: "move the unit away that the message names",
    Reason.NO_FREE_PORT: "widen deploy.port_range in config.toml",
    Reason.HELD: "reconciler apply lists what waits, and the command that confirms it",
    Reason.ANOTHER_SOURCE: "reconciler apply lists what waits, and the command that confirms it",
    Reason.NOT_CONFIRMED: "reconciler plan shows the change, and reconciler apply PLAN carries it out",
    Reason.OTHER_HOSTS_FIRST: "look at the hosts that the message names, or take them out of rollout.after",
    Reason.SUSPENDED: "reconciler resume {name} ends the suspension; systemctl unmask does, where a unit is masked",
    Reason.MENDED_TOO_OFTEN: "find what undoes every repair, then reconciler retry {name}",
    Reason.NAME_NOT_ALLOWED: "register the model again as the message says",
    Reason.NOT_ALLOWED: "change the policy in config.toml, if this host is to serve it",
}
_WAITS_FOR = {
    Reason.NO_SNAPSHOT: "the first reading of the registry",
    Reason.OTHER_HOSTS_FIRST: "the hosts that are to have the version first",
    Reason.FETCHING: "the download of its files",
    Reason.BUILDING: "the build of its environment",
    Reason.VERIFYING: "the check of its files",
    Reason.WAITING: "its turn: only so many work at once",
    Reason.STARTING: "its server to load the model and to answer the logged example",
    Reason.TAKING_OVER: "the version before it to step aside",
    Reason.SOAKING: "the end of its soak",
    Reason.GOING_BACK: "the version before it to come back",
    Reason.KEPT_FOR_A_WHILE: "the end of deploy.removal_grace",
    Reason.NOT_SELECTED: "its servers to stop, and its files to be removed",
    Reason.REPLACING_FILES: "the files of the other model",
}
_FOR_A_PERSON = (State.HELD, State.STALLED, State.SUSPENDED, State.NOT_DEPLOYABLE)
_UNTRIED = "register a version with a logged example: nothing was tried with this one before it took requests"
# Their messages say what happened and end there.
_WITHOUT_REMEDY = (Reason.ROLLED_BACK,)


def to_do(one: DeploymentStatus) -> str:
    """Say what a person can do about a deployment's state; "" where nothing is to be done."""
    text = _TO_DO.get(one.reason, "")
    if not text and one.serves_untried:
        text = _UNTRIED
    return text.format(name=one.name)


def waits_for(one: DeploymentStatus) -> str:
    """Say what a deployment waits for; "" where it waits for nothing, or nobody knows."""
    if one.next_try is not None:
        return "its next try"
    if one.state in _FOR_A_PERSON:
        return "a person"
    return _WAITS_FOR.get(one.reason, "")


def advice_beside_message(one: DeploymentStatus) -> str:
    """Return `to_do` where the deployment's message does not say itself what to do."""
    return to_do(one) if one.reason in _WITHOUT_REMEDY else ""
