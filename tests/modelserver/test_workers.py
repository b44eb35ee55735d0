"""How many predictions run at once, and which of them are made together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from modelserver.answer import HttpAnswer
from modelserver.http.body_memory import BusyError
from modelserver.http.interruption import Interruption
from modelserver.http.pace import Pace
from modelserver.http.workers import Workers

PATIENCE = 30.0


def answer(text: str) -> HttpAnswer:
    """An answer with a text."""
    return HttpAnswer(200, text)


def allowed(pace: Pace, asked: int) -> list[int]:
    """What a pace says when it is asked so often."""
    return [pace.limit() for _ in range(asked)]


def test_predictions_that_exclude_each_other_run_one_at_a_time() -> None:
    """But for a trial now and then, in case that they have changed."""
    pace = Pace(cpus=4)
    assert {*allowed(pace, 31)} == {1}
    for _ in range(10):
        pace.ended(0.001, beside=0)
        pace.ended(0.002, beside=1)
    assert allowed(pace, 64).count(2) == 2
    assert {*allowed(pace, 64)} == {1, 2}


def test_predictions_that_do_not_slow_each_other_down_run_side_by_side() -> None:
    """Until they do."""
    pace = Pace(cpus=4)
    for _ in range(3):
        pace.ended(0.001, beside=0)
        pace.ended(0.00105, beside=1)
    assert {*allowed(pace, 64)} == {4}
    for _ in range(10):
        pace.ended(0.003, beside=2)
    assert allowed(pace, 31).count(4) == 0


def test_one_cpu_takes_one_at_a_time() -> None:
    """Whatever was measured."""
    pace = Pace(cpus=1)
    pace.ended(0.001, beside=0)
    pace.ended(0.001, beside=1)
    assert {*allowed(pace, 64)} == {1}


def test_a_long_prediction_does_not_keep_the_next_one_waiting() -> None:
    """It may be stuck for ever."""

    async def story(pool: ThreadPoolExecutor) -> None:
        workers, held = Workers(pool, 3, 10), threading.Event()

        def stuck() -> HttpAnswer:
            assert held.wait(PATIENCE)
            return answer("stuck")

        first = asyncio.ensure_future(workers.run(stuck, lambda: None))
        second = asyncio.ensure_future(workers.run(stuck, lambda: None))
        third = await asyncio.wait_for(workers.run(lambda: answer("third"), lambda: None), PATIENCE)
        assert (third.body, first.done(), second.done()) == ("third", False, False)
        held.set()
        assert [found.body for found in await asyncio.gather(first, second)] == ["stuck", "stuck"]

    with ThreadPoolExecutor(3) as pool:
        asyncio.run(story(pool))


def test_what_is_given_up_while_it_waits_is_never_computed() -> None:
    """Its memory is free at once, and its place, too."""

    async def story(pool: ThreadPoolExecutor) -> None:
        workers, held, done = Workers(pool, 1, 1), threading.Event(), []

        def stuck() -> HttpAnswer:
            assert held.wait(PATIENCE)
            return answer("stuck")

        first = asyncio.ensure_future(workers.run(stuck, lambda: done.append("first")))
        waiting = asyncio.ensure_future(workers.run(lambda: pytest.fail("computed"), lambda: done.append("waiting")))
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await workers.run(stuck, lambda: done.append("refused"))
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert done == ["refused", "waiting"]
        held.set()
        await first
        assert done == ["refused", "waiting", "first"]

    with ThreadPoolExecutor(1) as pool:
        asyncio.run(story(pool))


class Joined:
    """A model that answers items together; the first prediction waits until the others have come."""

    def __init__(self, answers: Callable[[Sequence[Any]], Sequence[HttpAnswer | None]]) -> None:
        """`answers` gives the answers to several items."""
        self.answers = answers
        self.groups: list[int] = []
        self.alone: list[str] = []
        self._held = threading.Event()

    def together(self, items: Sequence[Any]) -> Sequence[HttpAnswer | None]:
        """What Workers calls."""
        self.groups.append(len(items))
        return self.answers(items)

    def by_itself(self, name: str) -> Callable[[], HttpAnswer]:
        """The prediction of one item."""

        def compute() -> HttpAnswer:
            assert self._held.wait(PATIENCE)
            self.alone.append(name)
            if name == "bad":
                raise ValueError(name)
            return answer(f"{name} alone")

        return compute

    async def ask(self, pool: ThreadPoolExecutor, names: Sequence[str]) -> list[Any]:
        """The outcomes for items that come while the first one keeps the model busy; None is no item."""
        workers = Workers(pool, 1, 100, self.together)
        done: list[str] = []
        asked = [
            asyncio.ensure_future(workers.run(self.by_itself(name), lambda name=name: done.append(name), item=name))  # type: ignore[misc]  # a default for a lambda's parameter
            for name in names
        ]
        await asyncio.sleep(0)
        self._held.set()
        found = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), PATIENCE)
        assert sorted(done) == sorted(names)
        return [one if isinstance(one, BaseException) else one.body for one in found]


def test_what_waits_is_answered_together() -> None:
    """Each gets its own answer, and nobody waits for company."""
    joined = Joined(lambda items: [answer(f"{item} together") for item in items])
    with ThreadPoolExecutor(1) as pool:
        found = asyncio.run(joined.ask(pool, ["a", "b", "c", "d"]))
    assert found == ["a alone", "b together", "c together", "d together"]
    assert joined.groups == [3]


def test_what_cannot_be_answered_together_is_answered_by_itself() -> None:
    """And no other one has to be asked again."""
    joined = Joined(lambda items: [None if item in ("bad", "odd") else answer(f"{item} together") for item in items])
    with ThreadPoolExecutor(1) as pool:
        found = asyncio.run(joined.ask(pool, ["a", "bad", "c", "odd"]))
    assert [found[0], found[2], found[3]] == ["a alone", "c together", "odd alone"]
    assert isinstance(found[1], ValueError)
    assert joined.alone == ["a", "bad", "odd"]


def test_an_interruption_says_why() -> None:
    """Its time, somebody's word, or what came from outside."""

    async def story() -> None:
        with pytest.raises(TimeoutError), Interruption(0.01):
            await asyncio.Event().wait()

        async def wait(interruption: Interruption) -> None:
            with interruption:
                await asyncio.Event().wait()

        told, cancelled = Interruption(PATIENCE), Interruption(PATIENCE)
        tasks = [asyncio.ensure_future(wait(told)), asyncio.ensure_future(wait(cancelled))]
        await asyncio.sleep(0)
        told.interrupt(BusyError("full"))
        tasks[1].cancel()
        with pytest.raises(BusyError):
            await tasks[0]
        with pytest.raises(asyncio.CancelledError):
            await tasks[1]
        told.interrupt(BusyError("late"))  # nobody is there any more

    asyncio.run(story())
