"""Turns what was raised on the way to an answer into an answer, for both endpoints, and tells the journal."""

from __future__ import annotations

from modelserver.answer import Answer, error
from modelserver.errors import describe, message
from modelserver.model.blame import Blame, Stage, of_failure
from modelserver.model.error_log import Complaints
from modelserver.model.progress import Progress


def verdict(path: str, request: Progress, failure: BaseException, complaints: Complaints) -> Answer:
    """The answer to a request to `path` on which a thread raised `failure`."""
    blame = of_failure(request.stage, failure, request.refused)
    if blame is not Blame.CLIENT:
        return _failed(path, request, failure, complaints)
    if request.stage is Stage.PREDICTING:
        return error(400, "BAD_REQUEST", f"cannot use the request: {message(failure)}")
    if isinstance(failure, RecursionError):
        return error(400, "BAD_REQUEST", "cannot read the request: its JSON is nested too deeply")
    complaints.unread(path, failure)
    return error(400, "BAD_REQUEST", f"cannot read the request: {describe(failure, where=False)}")


def _failed(path: str, request: Progress, failure: BaseException, complaints: Complaints) -> Answer:
    complaints.failed(path, request.stage, failure)
    what = "the model's answer cannot be sent:" if request.stage is Stage.ANSWERING else "the model raised"
    return error(500, "INTERNAL_ERROR", f"cannot answer: {what} {describe(failure, where=False)}", failed=True)
