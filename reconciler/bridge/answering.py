"""Takes one request from its arrival to its outcome."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from reconciler.adapters.recordings import RecordingError, Recordings, Trouble
from reconciler.bridge import messages
from reconciler.bridge.health import Health
from reconciler.bridge.messages import Request
from reconciler.bridge.outcome import Outcome, RequestFailedError, Retry
from reconciler.bridge.server_client import ServerClient
from reconciler.ports.broker import Broker, Delivery, NobodyListensError

_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 10.0
"""Seconds between two tries."""
_STORE, _SERVER, _LISTENERS = "store", "server", "listeners"

_OUTCOME_OF = {
    Trouble.MISSING: Outcome.RECORDING_MISSING,
    Trouble.TOO_LARGE: Outcome.RECORDING_TOO_LARGE,
    Trouble.REFUSED: Outcome.STORE_REFUSES,
    Trouble.AWAY: Outcome.STORE_UNAVAILABLE,
}
_TROUBLE_WITH = {
    Outcome.STORE_REFUSES: _STORE,
    Outcome.STORE_UNAVAILABLE: _STORE,
    Outcome.SERVER_UNAVAILABLE: _SERVER,
    Outcome.NOBODY_LISTENS: _LISTENERS,
}
"""What is told to be in trouble while requests fail so."""


@dataclass(frozen=True)
class Limits:
    """What one request may take."""

    deadline: float
    """Seconds from its arrival until it is given up."""
    attempts: int
    """How often is tried what may have failed by chance."""
    max_message: int
    """Bytes."""
    max_recording: int
    """Bytes."""


@dataclass(frozen=True)
class Kinds:
    """Which recordings a request has."""

    all: tuple[str, ...]
    optional: frozenset[str]
    """Those of them that may be missing."""
    extension: str


class Answering:
    """Fetches the recordings of a request, has the model predict, and publishes the result."""

    def __init__(
        self,
        name: str,
        recordings: Recordings | None,
        server: ServerClient,
        health: Health,
        limits: Limits,
        kinds: Kinds,
        threads: ThreadPoolExecutor,
    ) -> None:
        """`recordings`: None where requests have none. `threads` read them."""
        self._name = name
        self._recordings = recordings
        self._server = server
        self._health = health
        self._limits = limits
        self._kinds = kinds
        self._threads = threads

    def read(self, delivery: Delivery) -> Request:
        """Read a request. Raises RequestFailedError."""
        return messages.read_request(delivery.data, self._limits.max_message)

    async def answer(self, delivery: Delivery, request: Request, broker: Broker) -> int:
        """Answer a request, and return in how many attempts. Raises RequestFailedError when it is given up."""
        ends = delivery.arrived + self._limits.deadline
        payload, attempts = await self._persist(ends, lambda: self._predict(request, ends))
        # What is computed is not thrown away because the broker is away for long.
        await self._persist(ends, lambda: self._publish(broker, request.inference, payload), may_take_longer=True)
        return attempts

    async def _predict(self, request: Request, ends: float) -> bytes:
        recordings = await self._fetch(request, ends)
        self._health.trouble(_STORE, "")
        answer = await self._server.predict(request, recordings)
        self._health.trouble(_SERVER, "")
        return messages.result(request.inference, answer)

    async def _publish(self, broker: Broker, inference: str, payload: bytes) -> None:
        try:
            await broker.publish_result(inference, payload)
        except NobodyListensError as error:
            why = f"cannot publish the result: {error}; start what reads the results"
            raise RequestFailedError(Outcome.NOBODY_LISTENS, why) from None
        self._health.trouble(_LISTENERS, "")

    async def _fetch(self, request: Request, ends: float) -> dict[str, tuple[str, bytes]]:
        """Fetch the recordings of a request, all at once."""
        if self._recordings is None:
            return {}
        fetched = await asyncio.gather(
            *(self._fetch_one(request, kind, ends) for kind in self._kinds.all), return_exceptions=True
        )
        found = {}
        for kind, content in zip(self._kinds.all, fetched, strict=True):
            if isinstance(content, BaseException):
                raise content
            if content is not None:
                found[kind] = (f"{kind}{self._kinds.extension}", content)
        return found

    async def _fetch_one(self, request: Request, kind: str, ends: float) -> bytes | None:
        """Fetch one recording; None for one that may be missing and is."""
        key = f"{request.inference}/{kind}{self._kinds.extension}"
        loop = asyncio.get_running_loop()
        recordings, largest = self._recordings, self._limits.max_recording
        if recordings is None:
            return None
        try:
            return await loop.run_in_executor(self._threads, lambda: recordings.read(key, largest, ends))
        except RecordingError as error:
            if error.trouble is Trouble.MISSING and kind in self._kinds.optional:
                return None
            raise RequestFailedError(_OUTCOME_OF[error.trouble], str(error)) from error

    async def _persist(
        self, ends: float, attempt: Callable[[], Awaitable[bytes | None]], *, may_take_longer: bool = False
    ) -> tuple[bytes, int]:
        """Attempt something until it works, it is not worth another try, or the time is over.

        `may_take_longer`: whether one attempt may go on when the time is over.
        """
        attempts = 0
        while True:
            attempts += 1
            try:
                async with asyncio.timeout(None if may_take_longer else max(0.0, ends - time.monotonic())):
                    return await attempt() or b"", attempts
            except RequestFailedError as error:
                failure = error
            except TimeoutError:
                raise _too_late(self._limits.deadline) from None
            what = _TROUBLE_WITH.get(failure.outcome)
            if what:
                self._health.trouble(what, str(failure))
            pause = min(_FIRST_PAUSE * 2**attempts, _LONGEST_PAUSE) * random.uniform(0.5, 1)  # noqa: S311 - no secret
            is_over = time.monotonic() + pause >= ends
            was_enough = failure.retry is Retry.A_FEW_TIMES and attempts >= self._limits.attempts
            if failure.retry is Retry.NEVER or was_enough or is_over:
                failure.attempts = attempts
                raise failure
            await asyncio.sleep(pause)


def _too_late(deadline: float) -> RequestFailedError:
    why = f"cannot answer within {deadline:.0f} s: the store or the model was too slow; raise nats.deadline on the host"
    return RequestFailedError(Outcome.DEADLINE, why)
