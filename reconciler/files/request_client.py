"""Asks the reconciler something and waits for its answer; request_inbox.py, the other side, says how files pass."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from reconciler.core.operators.requests import Request
from reconciler.files.atomic import replace_file
from reconciler.files.request_inbox import MAX_BYTES, REQUESTS, Answer
from reconciler.files.untrusted import UnacceptableFileError, read_foreign_file

PAUSE = 0.05
"""Seconds between two looks for the answer."""


class NoAnswerError(Exception):
    """Nobody answered; the message says what became of the request."""


@dataclass(frozen=True)
class Asker:
    """The command's side."""

    directory: Path = REQUESTS
    owner: int = 0
    deadline: float = 15.0
    """Seconds to wait for an answer, and once more when the request was taken already."""
    monotonic: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep

    def ask(self, identity: str, request: Request) -> Answer:
        """Put a request where the reconciler finds it, and wait for what it says. Raises NoAnswerError and OSError."""
        if not self.directory.parent.is_dir():
            raise NoAnswerError("the reconciler does not run")
        self.directory.mkdir(mode=0o700, exist_ok=True)
        asked = self.directory / f"{identity}.json"
        taken = False
        try:
            replace_file(asked, request.model_dump_json(by_alias=True).encode(), 0o600)
            answer = self._wait(asked.with_suffix(".answer"))
            if answer is None and (taken := not _take_back(asked)):
                answer = self._wait(asked.with_suffix(".answer"))
        except BaseException:
            _take_back(asked)  # whoever gives up must not be surprised by it later
            raise
        if answer is None and taken:
            raise NoAnswerError("the reconciler took the request and does not say what became of it")
        if answer is None:
            raise NoAnswerError("the reconciler does not answer")
        return answer

    def _wait(self, path: Path) -> Answer | None:
        ends = self.monotonic() + self.deadline
        while True:
            try:
                answer = Answer.model_validate_json(read_foreign_file(path, self.owner, MAX_BYTES).content)
            except (UnacceptableFileError, ValidationError):
                if self.monotonic() >= ends:
                    return None
                self.pause(PAUSE)
            else:
                path.unlink(missing_ok=True)
                return answer


def _take_back(asked: Path) -> bool:
    """Tell whether the request was still there to be taken back."""
    try:
        asked.unlink()
    except FileNotFoundError:
        return False
    return True
