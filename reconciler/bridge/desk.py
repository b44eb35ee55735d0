"""Takes requests in, has so many answered at once, and sees to it that each has an outcome that is told."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import structlog

from reconciler.bridge import messages
from reconciler.bridge.answering import Answering
from reconciler.bridge.beside import Beside
from reconciler.bridge.health import Health
from reconciler.bridge.messages import Request
from reconciler.bridge.outcome import Outcome, RequestFailedError
from reconciler.core.text.quote import one_line
from reconciler.ports.broker import Broker, Delivery

log = structlog.get_logger()

_MOST_BYTES = 64 * 1024**2
"""Bytes of what waits here. Core NATS hands over whatever comes; more is given up at once."""
_EACH = 4096
"""Bytes that a request takes beside its message."""
_TO_TELL = 5.0
"""Seconds to tell of what was not answered when the bridge has to end."""
_MOST_BESIDE = 1000
"""Requests that are held while an older server may answer them."""
_HEARTBEAT = 10.0
"""Seconds between two words to the broker that a request is still worked on: a third of its patience."""


class Desk:
    """All requests between their arrival and their outcome."""

    def __init__(self, name: str, answering: Answering, beside: Beside, health: Health, concurrency: int) -> None:
        """`concurrency`: how many requests are answered at once."""
        self._name = name
        self._answering = answering
        self._beside = beside
        self._health = health
        self._concurrency = concurrency
        self._at_work = asyncio.Semaphore(concurrency)
        self._tasks: set[asyncio.Task[None]] = set()
        self._bytes = 0
        self._changed = asyncio.Event()
        self.broker: Broker | None = None

    async def room(self) -> int:
        """Wait until there is room for more requests, and return for how many."""
        while True:
            most = _MOST_BESIDE if self._beside.is_on else self._concurrency
            room = most - len(self._tasks)
            if room > 0:
                return room
            self._changed.clear()
            await self._changed.wait()

    def saw_result(self, payload: bytes) -> None:
        """Take note of a result that somebody published."""
        self._beside.saw_result(payload)

    def switch_beside(self, on: bool) -> None:
        """Leave requests to an older server from now on, or answer all of them. Results have to be watched before."""
        self._beside.switch(on)
        self._health.went_beside(on)
        self._changed.set()

    def take(self, delivery: Delivery) -> None:
        """Take a request, at once."""
        size = len(delivery.data) + _EACH
        self._bytes += size
        task = asyncio.create_task(self._see_to(delivery, is_too_much=self._bytes > _MOST_BYTES))
        self._tasks.add(task)
        self._health.waiting = len(self._tasks)

        def done(_task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._bytes -= size
            self._health.waiting = len(self._tasks)
            self._changed.set()

        task.add_done_callback(done)

    async def finish(self, limit: float) -> None:
        """Wait for all requests; those that take longer than `limit` seconds are given up, and that is told."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=limit)
        left = set(self._tasks)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=_TO_TELL)

    async def _see_to(self, delivery: Delivery, *, is_too_much: bool) -> None:
        """Bring a request to its outcome, and tell it."""
        with self._kept(delivery):
            try:
                request = self._answering.read(delivery)
                if is_too_much:
                    raise _too_many()
                outcome, attempts = await self._outcome(delivery, request)
            except RequestFailedError as error:
                await self._give_up(delivery, error)
            except asyncio.CancelledError:
                await self._end_early(delivery)
                raise
            except Exception as error:  # whatever it is, the next request must be answered
                log.exception("cannot answer a request: this is a fault of the bridge; report it", MODEL=self._name)
                why = f"cannot answer the request: {type(error).__name__} in the bridge; see the journal of the host"
                await self._give_up(delivery, RequestFailedError(Outcome.SERVER_UNAVAILABLE, why))
            else:
                await self._settle(delivery)
                self._health.count(outcome)
                tries = f" in {attempts} attempts" if attempts > 1 else ""
                log.info(f"{outcome} {request.inference}{tries}", MODEL=self._name)

    async def _outcome(self, delivery: Delivery, request: Request) -> tuple[Outcome, int]:
        """Have a request answered, unless somebody did. Raises RequestFailedError."""
        if await self._beside.was_answered_by_other(request.inference):
            return Outcome.ANSWERED_BY_OTHER, 1
        async with self._at_work:
            broker = self._known_broker()
            if await broker.was_answered(request.inference):
                return Outcome.ANSWERED_BEFORE, 1
            return Outcome.ANSWERED, await self._answering.answer(delivery, request, broker)

    async def _give_up(self, delivery: Delivery, error: RequestFailedError) -> None:
        # Of the message itself nothing is logged but its id, if it has one. First: the broker may be away.
        inference = messages.id_of(delivery.data) or "without a valid id"
        log.warning(f"gave up request {inference} ({error.outcome}): {one_line(str(error), 500)}", MODEL=self._name)
        payload = messages.failed(delivery, error, self._name, error.attempts)
        await self._known_broker().publish_failed(delivery, payload)
        await self._settle(delivery)
        self._health.count(error.outcome)

    async def _end_early(self, delivery: Delivery) -> None:
        """Say of a request of core NATS that it stays unanswered. JetStream hands one over to the next bridge."""
        if delivery.reply:
            return
        why = "cannot answer the request: the bridge had to end; publish it again"
        with suppress(asyncio.CancelledError):
            await self._give_up(delivery, RequestFailedError(Outcome.BRIDGE_ENDED, why))

    async def _settle(self, delivery: Delivery) -> None:
        await self._known_broker().settle(delivery)

    def _known_broker(self) -> Broker:
        if self.broker is None:
            raise ValueError("a request came before there was a broker")
        return self.broker

    @contextmanager
    def _kept(self, delivery: Delivery) -> Iterator[None]:
        """Tell the broker now and then that a request is worked on."""
        heartbeat = asyncio.create_task(self._keep(delivery)) if delivery.reply else None
        try:
            yield
        finally:
            if heartbeat is not None:
                heartbeat.cancel()

    async def _keep(self, delivery: Delivery) -> None:
        while True:
            await asyncio.sleep(_HEARTBEAT)
            await self._known_broker().keep(delivery)


def _too_many() -> RequestFailedError:
    why = f"cannot take the request: {_MOST_BYTES // 1024**2} MiB of requests wait already; publish it again later"
    return RequestFailedError(Outcome.TOO_MANY_WAIT, why)
