"""Runs predictions in threads, and refuses what would have to wait for one behind too many others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Executor, Future

from modelserver.answer import HttpAnswer
from modelserver.http.body_memory import BusyError


class Workers:
    """The threads of an executor, and at most `max_waiting` requests that wait for one.

    `threads` is how many the executor has; it is only counted with. The server has one executor for the model, with as
    many threads as the host has CPUs and four more, at most 32 (modelserver.cli).
    """

    def __init__(self, executor: Executor, threads: int, max_waiting: int) -> None:
        """Nothing runs yet."""
        self._executor = executor
        self._max_under_way = threads + max_waiting
        # A request that was given up is among these for as long as its thread works on it: the thread is taken.
        self._under_way: set[Future[HttpAnswer]] = set()

    def check_room(self) -> None:
        """Raises BusyError when as many requests wait as may.

        It takes no place. So it is asked twice: before a body is received, to receive none in vain, and by `run`,
        because others may have taken the last place while the body arrived.
        """
        if len(self._under_way) >= self._max_under_way:
            raise BusyError("cannot answer: too many requests wait for the model; try again later")

    async def run(self, compute: Callable[[], HttpAnswer], on_done: Callable[[], None]) -> HttpAnswer:
        """The answer of `compute`, which runs in a thread. Raises BusyError, and what `compute` raises.

        `on_done` is called in this event loop, once no thread works on `compute` any more, or when none ever did.
        """
        try:
            self.check_room()
            future = self._executor.submit(compute)
        except BaseException:
            on_done()
            raise
        self._under_way.add(future)
        loop = asyncio.get_running_loop()

        def ended(_: Future[HttpAnswer]) -> None:
            self._under_way.discard(future)
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(on_done)

        # Of the thread's future, not of the awaited one: that one ends with the time limit, and the thread goes on.
        future.add_done_callback(ended)
        return await asyncio.wrap_future(future)
