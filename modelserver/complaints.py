"""Tells the journal what is wrong with a model's answers: in full once for each place, then how often."""

from __future__ import annotations

import logging
import threading

from modelserver.failure import describe, origin

_log = logging.getLogger("modelserver")
_MOST_PLACES = 100


class Complaints:
    """What went wrong so far, by its type and where; a model that fails every request must not flood the journal."""

    def __init__(self) -> None:
        """Nothing went wrong yet."""
        self._counts: dict[tuple[str, ...], int] = {}
        self._lock = threading.Lock()

    def raised(self, path: str, failure: BaseException) -> None:
        """The model raised `failure` while it answered a request to `path`."""
        self._log(path, f"the model raised {describe(failure)}", failure, failure)

    def refused(self, path: str, failure: BaseException) -> None:
        """The model's answer to a request to `path` was not what was agreed upon, and `failure` says so."""
        self._log(path, str(failure), failure, None)

    def _log(self, path: str, sentence: str, failure: BaseException, trace: BaseException | None) -> None:
        """The 1st time in full, the 10th, 100th, … in a line. For any thread."""
        place = (path, *origin(failure))
        with self._lock:
            if place not in self._counts and len(self._counts) >= _MOST_PLACES:
                self._counts.clear()
            count = self._counts[place] = self._counts.get(place, 0) + 1
        if count == 1:
            _log.error("%s: %s", path, sentence, exc_info=trace)
        elif str(count).rstrip("0") == "1":
            _log.error("%s: %s (%d times so far)", path, sentence, count)
