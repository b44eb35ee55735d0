"""Follows one request from its first byte to the end of its answer, and into the model's own code."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from modelserver.model.blame import Stage


class Progress:
    """How far one request has come. Written by the thread that has it, read by the event loop when its time is over."""

    def __init__(self) -> None:
        """Its body is about to arrive."""
        self.stage = Stage.ARRIVING
        self.refused = False
        self._entered_at: float | None = None

    @contextmanager
    def followed(self) -> Iterator[None]:
        """For the thread that answers it: what this thread calls finds it with `following()`."""
        self.stage = Stage.READING
        token = _followed.set(self)
        try:
            yield
        finally:
            _followed.reset(token)
            self.stage = Stage.DONE

    def enter(self) -> None:
        """The model's own code is given the request."""
        self.stage = Stage.PREDICTING
        if self._entered_at is None:
            self._entered_at = time.monotonic()

    def leave(self) -> None:
        """It has answered."""
        self.stage = Stage.ANSWERING
        self.refused = False

    def fail(self, refused: bool) -> None:
        """It has raised; `refused` when it says by this that the request is not for it."""
        self.stage = Stage.PREDICTING
        self.refused = refused

    def seconds_in_model(self) -> float:
        """Since it was given to the model's own code; 0 before that."""
        return 0.0 if self._entered_at is None else time.monotonic() - self._entered_at


_followed: ContextVar[Progress | None] = ContextVar("followed", default=None)


def following() -> Progress | None:
    """The request that this thread answers; None where it is none, as in the replay of an example."""
    return _followed.get()
