"""Runs predictions in threads, and refuses what would have to wait for one behind too many others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from concurrent.futures import Executor, Future

from modelserver.answer import Answer
from modelserver.http.body_memory import BusyError


class Workers:
    """`threads` threads of an executor and at most `most_waiting` requests that wait for one."""

    def __init__(self, executor: Executor, threads: int, most_waiting: int) -> None:
        """Nothing runs yet."""
        self._executor = executor
        self._most = threads + most_waiting
        # What was given up by its request is among these for as long as its thread is at it.
        self._under_way: set[Future[Answer]] = set()

    def check(self) -> None:
        """Raises BusyError when there is no place to wait in."""
        if len(self._under_way) >= self._most:
            raise BusyError("cannot answer: too many requests wait for the model; try again later")

    async def run(self, work: Callable[[], Answer], done: Callable[[], None]) -> Answer:
        """The answer of `work`; `done` is called in this event loop when no thread is at it any more, or never was."""
        try:
            self.check()
            future = self._executor.submit(work)
        except BaseException:
            done()
            raise
        self._under_way.add(future)
        loop = asyncio.get_running_loop()

        def ended(_: Future[Answer]) -> None:
            self._under_way.discard(future)
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(done)

        future.add_done_callback(ended)
        return await asyncio.wrap_future(future)
