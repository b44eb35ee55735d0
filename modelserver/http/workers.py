"""Runs predictions in threads, and refuses what would have to wait for one behind too many others."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from modelserver.answer import HttpAnswer
from modelserver.http.body_memory import BusyError
from modelserver.http.pace import LONG, Pace

Compute = Callable[[], HttpAnswer]
Together = Callable[[Sequence[Any]], Sequence["HttpAnswer | None"]]
_FIRST_TOGETHER, _MOST_TOGETHER = 8, 128
_TOGETHER_SECONDS = 0.25
"""What requests that are answered together may take, as far as the ones before them tell."""


@dataclass(eq=False)
class Job:
    """One prediction: what is computed in a thread, and who waits for it in the event loop."""

    compute: Compute
    on_done: Callable[[], None]
    """Called in the event loop, once no thread works on it any more, or when none ever did."""
    answer: asyncio.Future[HttpAnswer]
    item: Any = None
    """What `Together` needs of it; None for a prediction that has to be made by itself."""


@dataclass(eq=False)
class _Run:
    """Jobs that one thread works on."""

    jobs: list[Job]
    began: float
    beside: int
    """The most other runs at the same time."""
    took: float = 0.0
    answers: Sequence[HttpAnswer | None] = field(default_factory=list)
    """None for one that has to be answered by itself."""
    failure: BaseException | None = None


class Workers:
    """The threads of an executor, and at most `max_waiting` requests that wait for one.

    `threads` is how many the executor has; it is only counted with. The server has one executor for the model, with as
    many threads as the host has CPUs and four more, at most 32 (modelserver.cli). How many of them work at once is for
    `Pace` to say. For the event loop only.
    """

    def __init__(self, executor: Executor, threads: int, max_waiting: int, together: Together | None = None) -> None:
        """Nothing runs yet. `together` answers several items at once, in a thread; None: each by itself."""
        self._executor = executor
        self._threads = threads
        self._max_under_way = threads + max_waiting
        self._together = together
        self._most_together = _FIRST_TOGETHER
        self._pace = Pace(os.cpu_count() or 1)
        self._waiting: deque[Job] = deque()
        # A request that was given up is in one of these for as long as its thread works on it: the thread is taken.
        self._runs: dict[_Run, None] = {}
        self._running_jobs = 0
        self._later: asyncio.TimerHandle | None = None

    def check_room(self) -> None:
        """Raises BusyError when as many requests wait as may.

        It takes no place. So it is asked twice: before a body is received, to receive none in vain, and by `run`,
        because others may have taken the last place while the body arrived.
        """
        if len(self._waiting) + self._running_jobs >= self._max_under_way:
            raise BusyError("cannot answer: too many requests wait for the model; try again later")

    async def run(self, compute: Compute, on_done: Callable[[], None], item: object = None) -> HttpAnswer:
        """The answer of `compute`, which runs in a thread. Raises BusyError, and what `compute` raises.

        With an `item`, others may be computed together with it. See Job for `on_done`.
        """
        try:
            self.check_room()
        except BaseException:
            on_done()
            raise
        job = Job(compute, on_done, asyncio.get_running_loop().create_future(), item)
        self._waiting.append(job)
        self._start_waiting()
        try:
            return await job.answer
        except asyncio.CancelledError:
            with contextlib.suppress(ValueError):  # a thread has it, or had it
                self._waiting.remove(job)
                job.on_done()
            raise

    def _start_waiting(self) -> None:
        """Starts as many of those that wait as may run now."""
        while self._waiting and self._may_start():
            self._start(self._next_jobs())

    def _may_start(self) -> bool:
        running = len(self._runs)
        if running >= self._threads:
            return False
        if running < 1 or running < self._pace.limit():
            return True
        # The last of them is the youngest: those before it are longer under way.
        youngest = next(reversed(self._runs))
        left = youngest.began + LONG - time.monotonic()
        if left > 0 and self._later is None:
            self._later = asyncio.get_running_loop().call_later(left, self._start_later)
        return left <= 0

    def _start_later(self) -> None:
        self._later = None
        self._start_waiting()

    def _next_jobs(self) -> list[Job]:
        """The first one that waits; with it, where several are answered at once, all that wait behind it for that."""
        first = self._waiting.popleft()
        if self._together is None or first.item is None:
            return [first]
        jobs = [first, *islice((job for job in self._waiting if job.item is not None), self._most_together - 1)]
        for job in jobs[1:]:
            self._waiting.remove(job)
        return jobs

    def _start(self, jobs: list[Job]) -> None:
        run = _Run(jobs, time.monotonic(), beside=len(self._runs))
        for other in self._runs:
            other.beside = max(other.beside, len(self._runs))
        self._runs[run] = None
        self._running_jobs += len(jobs)
        loop, together = asyncio.get_running_loop(), self._together

        def work() -> None:
            try:
                if together is None or len(jobs) == 1:
                    run.answers = [jobs[0].compute()]
                else:
                    run.answers = together([job.item for job in jobs])
            except BaseException as failure:  # noqa: BLE001 - handed on to who awaits the answer
                run.failure = failure
            run.took = time.monotonic() - run.began
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(self._ended, run)

        try:
            self._executor.submit(work)
        except RuntimeError as failure:  # it was shut down: the process ends
            run.failure = failure
            self._ended(run)

    def _ended(self, run: _Run) -> None:
        del self._runs[run]
        self._running_jobs -= len(run.jobs)
        self._note_time(run)
        answers = run.answers or [None] * len(run.jobs)
        again = [job for job, answer in zip(run.jobs, answers) if not self._finish(job, answer, run.failure)]  # noqa: B905 - one for each
        self._waiting.extendleft(reversed(again))
        self._start_waiting()

    def _note_time(self, run: _Run) -> None:
        if len(run.jobs) == 1:
            self._pace.ended(run.took, run.beside)
        else:
            most = int(_TOGETHER_SECONDS / max(run.took / len(run.jobs), 1e-6))
            self._most_together = max(1, min(most, 2 * self._most_together, _MOST_TOGETHER))

    @staticmethod
    def _finish(job: Job, answer: HttpAnswer | None, failure: BaseException | None) -> bool:
        """Tells who waits for the job; whether it is finished. It is not when it has to be answered by itself."""
        is_awaited = not job.answer.done()
        if is_awaited and answer is None and failure is None:
            job.item = None
            return False
        job.on_done()
        if is_awaited and failure is not None:
            job.answer.set_exception(failure)
        elif is_awaited and answer is not None:
            job.answer.set_result(answer)
        return True
