"""Decides whose fault it is that a request was not answered: the release's, the client's, or nobody's.

What a client alone can cause must never count against a release: its soak would be undone by anybody who can send a
request. So the release is to blame from where its own code was given the request, and for nothing before that.
"""

from __future__ import annotations

from enum import Enum, IntEnum

# From this share of the time limit on, the model had most of it: below, the request waited long for a thread.
_MOST_OF_THE_TIME = 0.5


class Stage(IntEnum):
    """How far a request has come on its way through the model.

    What its connection reads meanwhile is a `modelserver.http.connection_limit.ConnectionPhase`.
    """

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


def blame_for_error(stage: Stage, failure: BaseException, refused: bool) -> Blame:
    """Who is to blame for `failure`, raised in `stage`; `refused` when the model itself says: it is the request."""
    if stage is Stage.PREDICTING:
        return Blame.CLIENT if refused else Blame.RELEASE
    # An answer of the model that cannot be encoded: no request can say what the model answers.
    if stage is Stage.ANSWERING:
        return Blame.RELEASE
    if not isinstance(failure, Exception):
        return Blame.RELEASE  # SystemExit and its like: code wants to end the process, and no request can say that
    return Blame.CLIENT if stage is Stage.READING else Blame.NOBODY


def blame_for_timeout(stage: Stage, share: float, stuck: bool) -> Blame:
    """Who is to blame that the time limit was reached in `stage`.

    `share` is the part of the time limit that the model's own code had; `stuck` says that earlier requests, given up
    because of the model, still hold threads for which this one may have waited.
    """
    if stage in (Stage.ARRIVING, Stage.READING):
        return Blame.CLIENT
    model_had_the_time = stage is not Stage.WAITING and share >= _MOST_OF_THE_TIME
    if stuck or model_had_the_time:
        return Blame.RELEASE
    return Blame.NOBODY


def error_status(blame: Blame, mlflow_status: int) -> int:
    """The status of an error that MLflow gives `mlflow_status`: what a client got wrong is always a 4xx."""
    is_client_status = 400 <= mlflow_status < 500
    return 400 if blame is Blame.CLIENT and not is_client_status else mlflow_status
