"""Ends what a task awaits with an exception of one's own: when its time is over, or at somebody's word.

asyncio.wait_for() makes a task of each coroutine that it waits for, which costs a small request more than its reading;
asyncio.timeout() is not in Python 3.10.
"""

from __future__ import annotations

import asyncio
from types import TracebackType


class Interruption:
    """A block of the current task that can be interrupted: `with Interruption(seconds): await …`."""

    def __init__(self, seconds: float | None = None) -> None:
        """TimeoutError is raised at the awaiting line after so many seconds; None: only `interrupt` ends it."""
        self._seconds = seconds
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._why: Exception | None = None

    def interrupt(self, why: Exception) -> None:
        """Has `why` raised where the block awaits something; nothing once the block is left or interrupted."""
        if self._task is not None and self._why is None:
            self._why = why
            self._task.cancel()

    def __enter__(self) -> Interruption:
        self._task = asyncio.current_task()
        if self._seconds is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._seconds, self.interrupt, TimeoutError())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        task, self._task = self._task, None
        if self._timer is not None:
            self._timer.cancel()
        if self._why is None or kind is not asyncio.CancelledError:
            return
        # Since Python 3.11 a task counts who has cancelled it: somebody else may have done so, too.
        uncancel = getattr(task, "uncancel", None)
        if uncancel is not None and uncancel() > 0:
            return
        raise self._why from error
