"""Sends a request to the reconciler and waits for its answer; request_inbox.py says how the files pass."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from reconciler.core.operators.requests import Request
from reconciler.files.atomic import replace_file
from reconciler.files.request_answer import MAX_BYTES, REQUESTS, RequestAnswer
from reconciler.files.untrusted import UnacceptableFileError, read_foreign_file

PAUSE = 0.05
"""Seconds between two looks for the answer."""


class NoAnswerError(Exception):
    """The reconciler did not answer; the message says what became of the request."""


@dataclass(frozen=True)
class RequestClient:
    """The command's side: writes one request at a time into the reconciler's directory."""

    directory: Path = REQUESTS
    owner: int | None = None
    """Who answers; None is the user who asks."""
    deadline: float = 15.0
    """Seconds to wait for an answer, and once more when the request was taken already."""
    monotonic: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep

    def ask(self, identity: str, request: Request) -> RequestAnswer:
        """Write a request and wait for its answer. Raises NoAnswerError and OSError.

        `identity` is unique, in lower-case letters, digits and dashes; requests are served in the order of theirs.
        """
        # systemd makes the parent when it starts the reconciler.
        if not self.directory.parent.is_dir():
            raise NoAnswerError("the reconciler does not run")
        self.directory.mkdir(mode=0o700, exist_ok=True)
        asked = self.directory / f"{identity}.json"
        taken = False
        try:
            replace_file(asked, request.model_dump_json(by_alias=True).encode(), 0o600)
            answer = self._wait(asked.with_suffix(".answer"))
            if answer is None:
                taken = not _take_back(asked)
            if taken:  # it is being carried out, so its answer is worth another wait
                answer = self._wait(asked.with_suffix(".answer"))
        except BaseException:
            _take_back(asked)  # a person who gave up must not be surprised by it later
            raise
        if answer is not None:
            return answer
        if taken:
            raise NoAnswerError("the reconciler took the request and does not say what became of it")
        raise NoAnswerError("the reconciler does not answer")

    def _wait(self, path: Path) -> RequestAnswer | None:
        ends = self.monotonic() + self.deadline
        owner = os.geteuid() if self.owner is None else self.owner
        while True:
            try:
                answer = RequestAnswer.model_validate_json(read_foreign_file(path, owner, MAX_BYTES).content)
            except (UnacceptableFileError, ValidationError):  # not there yet, or not from the reconciler
                if self.monotonic() >= ends:
                    return None
                self.pause(PAUSE)
            else:
                path.unlink(missing_ok=True)
                return answer


def _take_back(asked: Path) -> bool:
    """Take a request back; return False when the reconciler took it before."""
    try:
        asked.unlink()
    except FileNotFoundError:
        return False
    return True
