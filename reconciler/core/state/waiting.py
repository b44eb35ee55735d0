"""What somebody who waits for a version to serve is told: it serves, it never will by itself, or not yet."""

from enum import IntEnum
from typing import NamedTuple

from reconciler.core.state.reason import Reason
from reconciler.core.state.standing import AT_REST
from reconciler.core.state.status import DeploymentStatus, State, Status


class Outcome(IntEnum):
    """How the wait ends, as the exit status of the command."""

    SERVES = 0
    REJECTED = 1
    NOT_YET = 2


class Told(NamedTuple):
    """An outcome, and the sentence that goes with it."""

    outcome: Outcome
    sentence: str


_REJECTED = frozenset(
    {
        Reason.START_FAILED,
        Reason.FAILED_IN_SOAK,
        Reason.ERRORS_IN_SOAK,
        Reason.ROLLED_BACK,
        Reason.REFUSED,
        Reason.NO_EXAMPLE,
        Reason.FILES_CHANGED,
        Reason.NUMBER_USED_AGAIN,
        Reason.NAME_NOT_ALLOWED,
        Reason.NOT_ALLOWED,
    }
)
"""Reasons for which this host does not try the version again unless a person does something."""
_DO_NOT_SERVE = (State.DEGRADED, State.FAILED, State.NOT_DEPLOYABLE)


def waited(document: Status, name: str, version: str | None, *, is_kept_up: bool = True) -> Told:
    """Judge whether a version of a deployment serves and was proved; None means the version that is wanted now.

    Proved is a version after its soak. A failure that is tried again by itself, a deployment that waits for a person,
    and one that the host does not know yet are `NOT_YET`: any of these may end while somebody waits. So is everything
    in a status that nobody keeps up (`is_kept_up`).
    """
    told = _judge(document, name, version)
    is_certain = is_kept_up and document.is_current and told.outcome is not Outcome.NOT_YET
    if is_certain:
        return told
    why = document.trouble or ("" if document.registry.reachable else document.registry.why_not_reachable)
    return Told(Outcome.NOT_YET, "; ".join(filter(None, (told.sentence, why))))


def _judge(document: Status, name: str, version: str | None) -> Told:
    one = next((one for one in document.deployments if one.name == name), None)
    if one is None:
        return Told(Outcome.NOT_YET, f"there is no deployment {name} on this host")
    wanted = one.desired_version
    if wanted is None or version not in (None, wanted):
        return Told(Outcome.NOT_YET, _another_is_wanted(one, version))
    if one.state in AT_REST and one.active_version == wanted:
        untried = "; nothing was tried with it, as it has no logged example" if one.serves_untried else ""
        return Told(Outcome.SERVES, f"version {wanted} of {name} serves{untried}")
    said = f": {one.message}" if one.message else ""
    # A version that served before is started again and again, whatever it failed of.
    is_tried_again = one.tries > 0
    if one.state in _DO_NOT_SERVE and one.reason in _REJECTED and not is_tried_again:
        return Told(Outcome.REJECTED, f"version {wanted} of {name} is rejected on this host{said}")
    return Told(Outcome.NOT_YET, f"version {wanted} of {name} is {one.state}{said}")


def _another_is_wanted(one: DeploymentStatus, version: str | None) -> str:
    asked = f"; version {version} is not" if version else ""
    if one.desired_version is None:
        said = f": {one.message}" if one.message else ""
        return f"no version of {one.name} is wanted on this host ({one.state}{said})"
    return f"version {one.desired_version} of {one.name} is wanted on this host{asked}"
