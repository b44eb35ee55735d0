"""Turns what a thread of the model raised into an answer, for both endpoints, and tells the journal.

Not here: what is decided in the event loop (refused heads, 408, 413, 503, 504: modelserver.http.app), MLflow's own
exceptions, which keep MLflow's words (modelserver.model.invocations), and answers of the model that break the contract
of /predict (modelserver.model.diagnosis).
"""

from __future__ import annotations

from modelserver.answer import HttpAnswer, error_answer
from modelserver.errors import describe_error, error_message
from modelserver.model.blame import Blame, Stage, blame_for_error
from modelserver.model.error_log import ModelErrorLog
from modelserver.model.progress import RequestProgress


def answer_failure(path: str, request: RequestProgress, failure: BaseException, error_log: ModelErrorLog) -> HttpAnswer:
    """The answer to a request to `path` on which a thread raised `failure`; logs it where somebody should look."""
    blame = blame_for_error(request.stage, failure, request.refused)
    if blame is not Blame.CLIENT:
        return _answer_release_failure(path, request, failure, error_log)
    if request.stage is Stage.PREDICTING:
        return error_answer(400, "BAD_REQUEST", f"cannot use the request: {error_message(failure)}")
    if isinstance(failure, RecursionError):
        return error_answer(400, "BAD_REQUEST", "cannot read the request: its JSON is nested too deeply")
    error_log.request_unreadable(path, failure)
    return error_answer(400, "BAD_REQUEST", f"cannot read the request: {describe_error(failure, where=False)}")


def _answer_release_failure(
    path: str, request: RequestProgress, failure: BaseException, error_log: ModelErrorLog
) -> HttpAnswer:
    error_log.release_failed(path, request.stage, failure)
    # Without the place in the model's code: that is for its author, who reads the journal, and not for clients.
    what = "the model's answer cannot be sent:" if request.stage is Stage.ANSWERING else "the model raised"
    sentence = f"cannot answer: {what} {describe_error(failure, where=False)}"
    return error_answer(500, "INTERNAL_ERROR", sentence, release_failed=True)
