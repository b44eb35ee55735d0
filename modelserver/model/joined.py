"""Answers requests that wait for the model with one prediction, when the model allows it.

Off unless `--batch` is given: what a model answers for a row may depend on the rows beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

from modelserver.answer import HttpAnswer
from modelserver.model.invocations import ScoringModel
from modelserver.model.progress import RequestProgress, in_this_thread

MAX_BODY = 64 * 1024
"""Bytes of a request that may be answered together with others: a larger one would keep them waiting."""


def answer_together(
    scoring: ScoringModel, requests: Sequence[tuple[bytes, RequestProgress]]
) -> list[HttpAnswer | None]:
    """The answers to JSON bodies; None for each that has to be answered by itself. Blocks: call it in a thread.

    Whatever goes wrong with the joined prediction is nobody's error: each request is then answered, and judged, by
    itself.
    """
    progresses = [progress for _, progress in requests]
    with in_this_thread(*progresses):
        try:
            answers = scoring.answer_tables([body for body, _ in requests])
        except BaseException:  # noqa: BLE001 - foreign code: each request will show what is its own of it
            answers = [None] * len(requests)
    for answer, progress in zip(answers, progresses):  # noqa: B905 - one for each
        if answer is None:
            progress.wait()
    return answers
