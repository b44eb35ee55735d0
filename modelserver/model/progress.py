"""Follows one request from its first byte until its thread is done, and into the model's own code.

The last stage, DONE, is the end of the thread. The event loop counts and sends the answer after that, and has sent
another one before if the time was over.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from modelserver.model.blame import Stage


class RequestProgress:
    """How far one request has come.

    Written by the thread that answers it, read by the event loop when its time is over.
    """

    def __init__(self) -> None:
        """The body is about to arrive."""
        self.stage = Stage.ARRIVING
        self.refused = False
        self._entered_at: float | None = None

    def wait(self) -> None:
        """All of it is here, and no thread is at it: for the first time, or again."""
        self.stage = Stage.WAITING
        self._entered_at = None

    def enter_model(self) -> None:
        """The model's own code is given the request."""
        self.stage = Stage.PREDICTING
        # MLflow may call the model several times for one request: its time begins with the first call.
        if self._entered_at is None:
            self._entered_at = time.monotonic()

    def leave_model(self) -> None:
        """The model's own code has answered."""
        self.stage = Stage.ANSWERING
        self.refused = False

    def model_raised(self, refused: bool) -> None:
        """The model's own code has raised; `refused` when it says by this that the request is not for it."""
        self.stage = Stage.PREDICTING
        self.refused = refused

    def seconds_in_model(self) -> float:
        """Since it was given to the model's own code; 0 before that."""
        return 0.0 if self._entered_at is None else time.monotonic() - self._entered_at


_current: ContextVar[tuple[RequestProgress, ...]] = ContextVar("current", default=())


@contextmanager
def in_this_thread(*requests: RequestProgress) -> Iterator[None]:
    """For the thread that answers these requests: what it calls finds them with `current_requests()`."""
    for request in requests:
        request.stage = Stage.READING
    token = _current.set(requests)
    try:
        yield
    finally:
        _current.reset(token)
        for request in requests:
            request.stage = Stage.DONE


def current_requests() -> tuple[RequestProgress, ...]:
    """The requests that this thread answers; none, for example, in the replay of an example."""
    return _current.get()
