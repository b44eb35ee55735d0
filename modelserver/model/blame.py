"""Decides whose fault it is that a request was not answered: the release's, the client's, or nobody's.

What a client alone can cause must never count against a release: its soak would be undone by anybody who can send a
request. So the release is to blame from where its own code was given the request, and for nothing before that.
"""

from __future__ import annotations

from enum import Enum, IntEnum

# The model had most of the time limit for itself: what waited long for a thread is late without its fault.
_MOST_OF_THE_TIME = 0.5


class Stage(IntEnum):
    """How far a request has come."""

    ARRIVING = 0  # its body is not complete
    WAITING = 1  # complete; no thread has begun with it
    READING = 2  # it is parsed, checked against signature and type hints, converted
    PREDICTING = 3  # the model's own code has it
    ANSWERING = 4  # the model has answered; that is checked and encoded
    DONE = 5  # no thread is at it any more


class Blame(Enum):
    """Who has to do better. Only RELEASE is counted."""

    CLIENT = "the request is not one that this model takes"
    RELEASE = "the model fails, or answers what cannot be sent"
    NOBODY = "too much is under way, or this server is wrong, which is the same in every release"


def of_failure(stage: Stage, failure: BaseException, refused: bool) -> Blame:
    """Who is to blame for `failure`, raised in `stage`; `refused` when the model itself says: it is the request."""
    if stage in (Stage.PREDICTING, Stage.ANSWERING):
        return Blame.CLIENT if refused and stage is Stage.PREDICTING else Blame.RELEASE
    if not isinstance(failure, Exception):
        return Blame.RELEASE  # somebody's code wants to end the process, and no request can say that
    return Blame.CLIENT if stage is Stage.READING else Blame.NOBODY


def of_lateness(stage: Stage, share: float, stuck: bool) -> Blame:
    """Who is to blame that the time is over in `stage`.

    `share` is the part of the time limit that the model's own code had; `stuck` says that earlier requests, given up
    because of the model, still hold threads for which this one may have waited.
    """
    if stage in (Stage.ARRIVING, Stage.READING):
        return Blame.CLIENT
    if stuck or (stage is not Stage.WAITING and share >= _MOST_OF_THE_TIME):
        return Blame.RELEASE
    return Blame.NOBODY


def status_of(blame: Blame, answered: int) -> int:
    """The status of an error for which MLflow has `answered`: what a client got wrong is never a 5xx."""
    return 400 if blame is Blame.CLIENT and not 400 <= answered < 500 else answered
