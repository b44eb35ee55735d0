"""Tells the journal what is wrong with a model's answers: in full once for each place, then how often."""

from __future__ import annotations

import logging
import threading

from modelserver.errors import describe, origin, place
from modelserver.model.blame import Stage

_log = logging.getLogger("modelserver")
_MOST_PLACES = 100


class Complaints:
    """What went wrong so far, by its type and where; a model that fails every request must not flood the journal."""

    def __init__(self) -> None:
        """Nothing went wrong yet."""
        self._counts: dict[tuple[str, ...], int] = {}
        self._lock = threading.Lock()

    def failed(self, path: str, stage: Stage, failure: BaseException) -> None:
        """The release is to blame for `failure`, raised in `stage` of a request to `path`."""
        what = "the model's answer cannot be sent:" if stage is Stage.ANSWERING else "the model raised"
        self._log(what, path, f"{what} {describe(failure)}", failure, failure)

    def refused(self, path: str, failure: BaseException) -> None:
        """The model's answer to a request to `path` was not what was agreed upon, and `failure` says so."""
        self._log("refused", path, str(failure), failure, None)

    def unread(self, path: str, failure: BaseException) -> None:
        """A request to `path` could not be read, which nobody foresaw. What `failure` says may quote the request."""
        sentence = f"a request could not be read: {type(failure).__name__} ({place(failure)})"
        self._log("unread", path, sentence, failure, None, logging.WARNING)

    def _log(
        self,
        what: str,
        path: str,
        sentence: str,
        failure: BaseException,
        trace: BaseException | None,
        level: int = logging.ERROR,
    ) -> None:
        """The 1st time in full, the 10th, 100th, … in a line. For any thread."""
        kind = (what, path, *origin(failure))
        with self._lock:
            if kind not in self._counts and len(self._counts) >= _MOST_PLACES:
                self._counts.clear()
            count = self._counts[kind] = self._counts.get(kind, 0) + 1
        if count == 1:
            _log.log(level, "%s: %s", path, sentence, exc_info=trace)
        elif str(count).rstrip("0") == "1":
            _log.log(level, "%s: %s (%d times so far)", path, sentence, count)
