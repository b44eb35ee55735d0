"""Tells the journal what is wrong with a model's answers: in full once for each place, then how often."""

from __future__ import annotations

import logging
import threading

from modelserver.errors import describe_error, error_key, error_place, raised_at
from modelserver.model.blame import Stage

_log = logging.getLogger("modelserver")
_MAX_PLACES = 100


class ModelErrorLog:
    """What went wrong so far, by its type and place; a model that fails every request must not flood the journal.

    For any thread.
    """

    def __init__(self) -> None:
        """Nothing went wrong yet."""
        self.last = ""
        """The last failure that is the release's, by its type and place; it is told to those who made the model."""
        self._counts: dict[tuple[str, ...], int] = {}
        self._lock = threading.Lock()

    def release_failed(self, path: str, stage: Stage, failure: BaseException) -> None:
        """Logs `failure`, raised in `stage` of a request to `path`, for which the release is to blame."""
        self.last = error_place(failure)
        what = "the model's answer cannot be sent:" if stage is Stage.ANSWERING else "the model raised"
        self._log(what, path, f"{what} {describe_error(failure)}", failure, traceback=failure)

    def answer_refused(self, path: str, failure: BaseException) -> None:
        """Logs that the model's answer to a request to `path` was not what was agreed upon; `failure` says so."""
        self.last = f"an answer that breaks the contract of {path}"
        self._log("refused", path, str(failure), failure)

    def request_unreadable(self, path: str, failure: BaseException) -> None:
        """Logs that a request to `path` could not be read, for a reason that nobody foresaw."""
        # Without the message of `failure`, which may quote the request: what clients send is not for the journal.
        sentence = f"a request could not be read: {type(failure).__name__} ({raised_at(failure)})"
        self._log("unread", path, sentence, failure, level=logging.WARNING)

    def _log(
        self,
        kind: str,
        path: str,
        sentence: str,
        failure: BaseException,
        traceback: BaseException | None = None,
        level: int = logging.ERROR,
    ) -> None:
        """Logs the 1st time in full, the 10th, 100th, … in a line."""
        count = self._count((kind, path, *error_key(failure)))
        if count == 1:
            _log.log(level, "%s: %s", path, sentence, exc_info=traceback)
        elif _is_power_of_ten(count):
            _log.log(level, "%s: %s (%d times so far)", path, sentence, count)

    def _count(self, key: tuple[str, ...]) -> int:
        with self._lock:
            # A model may generate code and so fail in ever new places: forgetting all of them bounds the memory.
            if key not in self._counts and len(self._counts) >= _MAX_PLACES:
                self._counts.clear()
            self._counts[key] = self._counts.get(key, 0) + 1
            return self._counts[key]


def _is_power_of_ten(number: int) -> bool:
    return str(number).rstrip("0") == "1"
