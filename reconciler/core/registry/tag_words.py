"""What a host's tag says on each version of a deployment, in words for the people who made the model.

They read it in MLflow's pages and cannot log in on the host: it names states, reasons and versions, and no command.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from reconciler.core.state.status import DeploymentStatus, State, Status
from reconciler.core.text.quote import one_line
from reconciler.core.text.urls import is_loopback, origin

MAX_VALUE = 500
"""Characters. MLflow takes 5000, but people read these tags in a table."""
STANDBY = "standby"
"""The first word of the tag of the version that takes over again if the one in its first minutes fails."""
TIME = "%Y-%m-%dT%H:%M:%SZ"
_VERSION = re.compile(r"[0-9]{1,10}")
_BY_ITSELF = (State.SERVING, State.IDLE)
"""States in which the wanted version answers."""
_PROVED = re.compile(rf"({'|'.join(_BY_ITSELF)}) \d{{4}}-\d\d-\d\dT", re.ASCII)
_ON_ITS_WAY = (State.PENDING, State.PREPARING, State.ROLLING_OUT)
_WAITS_FOR_PEOPLE = (State.HELD, State.SUSPENDED, State.STALLED)
_INSTEAD = {
    State.HELD: "the host's operators have to confirm a change first",
    State.STALLED: "something on the host undoes its repairs, and its operators have to look at it",
}
"""What stands for the messages of states that are about commands of the host."""


class Place(NamedTuple):
    """A version of a model: tags are set there."""

    name: str
    version: int


def wanted_words(status: Status) -> dict[Place, str]:
    """Say what the tag of each version that the status is about should say, without its end.

    A deployment whose status has no version, such as one of a name that cannot be deployed, has no tag of it.
    """
    words: dict[Place, str] = {}
    for deployment in status.deployments:
        words |= _words_about(deployment)
    return words


# The agent asks at each poll, and most deployments are as they were: it was half of what the idle agent did.
@lru_cache(maxsize=2**12)
def _words_about(deployment: DeploymentStatus) -> Mapping[Place, str]:
    words: dict[Place, str] = {}
    for version, said in _by_version(deployment):
        number = _number(version)
        if number is not None:
            # The last one counts where a version is several of them: what is wanted before what is here.
            words[Place(deployment.name, number)] = said
    return words


def _by_version(deployment: DeploymentStatus) -> Iterator[tuple[str | None, str]]:
    desired, active = deployment.desired_version, deployment.active_version
    yield deployment.standby_version, _of_standby(deployment)
    # Where nothing is wanted, the state is about the version that is here: it is held or removed, or nobody knows.
    yield active, value_of(deployment) if desired is None else _of_stand_in(deployment)
    yield desired, value_of(deployment)


def of_refused(why: str) -> str:
    """Say of a version that no host can deploy it; `why` says what to do, too."""
    return one_line(f"{State.NOT_DEPLOYABLE}: {why}", MAX_VALUE)


def value_of(deployment: DeploymentStatus) -> str:
    """Say in one short text how the wanted version fares: its state, since when, its address or what is wrong.

    A message stands for the time, so that the tag of a deployment with trouble begins with its state and the reason.
    Where another version answers meanwhile, that comes first: a long message must not cut it off.
    """
    since = f"{deployment.since.astimezone(UTC):{TIME}}"
    if deployment.state in _BY_ITSELF:
        words = " ".join(filter(None, (deployment.state, since, address(deployment))))
        told = deployment.message if deployment.serves_untried else ""
    else:
        message = _INSTEAD.get(deployment.state, deployment.message)
        words = deployment.state if message else f"{deployment.state} {since}"
        told = "; ".join(filter(None, (_who_answers(deployment), message)))
    # Messages have words of models in them: MLflow's table shows one line.
    return one_line(f"{words}: {told}" if told else words, MAX_VALUE)


def says_proved(words: str) -> bool:
    """Tell whether these are the words of `value_of` for a wanted version that answers, and is past its soak."""
    return _PROVED.match(words) is not None


def address(deployment: DeploymentStatus) -> str:
    """Say where clients ask it: the public address, or the host's own one and that it is the host's; "" for none."""
    if deployment.public_url:
        return deployment.public_url
    if not deployment.url:
        return ""
    # Somebody may have edited the socket's file: what is no address has no origin.
    is_of_the_host = is_loopback(urlsplit(origin(deployment.url)).hostname or "")
    return f"{deployment.url} (an address of the host itself)" if is_of_the_host else deployment.url


def _who_answers(deployment: DeploymentStatus) -> str:
    """Say which version answers, where it is not the wanted one."""
    active = deployment.active_version
    is_another = active is not None and deployment.desired_version not in (None, active)
    return f"version {active} serves" if is_another else ""


def _of_stand_in(deployment: DeploymentStatus) -> str:
    """Say of a version that it answers, and why it does although another one is wanted."""
    if deployment.state in _ON_ITS_WAY:
        other = "is on its way"
    elif deployment.state in _WAITS_FOR_PEOPLE:
        other = "waits for the host's operators"
    else:
        other = "does not come into service, as its tag says"
    words = " ".join(filter(None, (State.SERVING, address(deployment))))
    return one_line(f"{words}: version {deployment.desired_version} is wanted and {other}", MAX_VALUE)


def _of_standby(deployment: DeploymentStatus) -> str:
    serving = f"version {deployment.active_version} serves and is watched in its first minutes"
    return one_line(f"{STANDBY}: {serving}; this version takes over again if that one fails", MAX_VALUE)


def _number(version: str | None) -> int | None:
    """Read a version of the status, which are texts there.

    None where the deployment has none, and where it is no number that a registry gives: what a status says of such a
    version has no place in the registry.
    """
    match = _VERSION.fullmatch(version or "")
    return int(match[0]) if match else None
