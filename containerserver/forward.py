"""The web application in front of a container: passes requests on to its socket, or answers for one that has none."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus

import httpx
from starlette.types import Message, Receive, Scope, Send

from containerserver.door import Door, NoDoorError
from containerserver.engine import EngineError
from modelserver.answer import error_answer
from modelserver.http.connection import RETRY_AFTER
from modelserver.systemd.counters import Counters

_HOP_BY_HOP = {
    *(b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    *(b"expect", b"model-release", b"date", b"server"),
}
"""Headers that are between two ends of one connection, and those that our own server adds."""
_COUNTED = ("/predict", "/invocations")
_NOT_THE_RELEASE = (HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.SERVICE_UNAVAILABLE)
"""Answers that do not say that the release failed."""
_LONGER = 5.0
"""Seconds that are waited for an answer beyond the time of the server in the container, which says more about it."""
_log = logging.getLogger("modelserver")


class CutOffError(Exception):
    """An answer that has begun cannot be ended."""


class Forward:
    """Passes requests on. A connection to the container for each: one that was kept may just be closing."""

    def __init__(self, open_door: Callable[[], Door], counters: Counters, max_body: int, timeout: float) -> None:
        """`open_door` raises NoDoorError. `max_body`: bytes; `timeout`: seconds of one request in the container."""
        self._open_door = open_door
        self._counters = counters
        self._max_body = max_body
        self.seconds = timeout + _LONGER
        """Until a request has arrived, and then until its answer begins."""
        self._opening = asyncio.Lock()
        self._door: Door | None = None
        self._client: httpx.AsyncClient | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        answer = _Answer(send, scope["path"] in _COUNTED, self._counters)
        if _declared(scope) > self._max_body:
            await answer.refuse(413, "BAD_REQUEST", self._too_large)
            return
        try:
            await self._pass_on(scope, receive, answer)
        except _TooLargeError:
            await answer.refuse(413, "BAD_REQUEST", self._too_large)
        except _TooSlowError:
            sentence = f"cannot read the request: it did not arrive within {self.seconds:g} s"
            await answer.refuse(408, "BAD_REQUEST", sentence)
        except _GoneError:
            return  # the client went before its request was complete: nobody is there to read an answer
        except httpx.TimeoutException:
            sentence = "cannot answer: the container did not answer in time"
            await answer.refuse(504, "DEADLINE_EXCEEDED", sentence, release_failed=True)
        except (httpx.TransportError, httpx.InvalidURL, NoDoorError, EngineError) as error:
            _log.warning("the container did not answer %s: %s", scope["path"], type(error).__name__)
            await answer.refuse(502, "BAD_GATEWAY", "cannot answer: the container ended", release_failed=True)
        except asyncio.CancelledError:
            # At the drain limit. Not raised again: modelserver.http.app says why.
            sentence = "cannot answer: this server ends before the answer is there; try again"
            await answer.refuse(503, "TEMPORARILY_UNAVAILABLE", sentence)

    async def ping(self) -> bool:
        """Whether the container answers /ping with 200."""
        try:
            client = await self._current_client()
            answer = await client.get("http://container/ping")
        except (httpx.TransportError, NoDoorError):
            return False
        return answer.status_code == HTTPStatus.OK

    async def close(self) -> None:
        """Let go of the container."""
        if self._client is not None:
            await self._client.aclose()
        if self._door is not None:
            self._door.close()

    @property
    def _too_large(self) -> str:
        return f"cannot read the request: it exceeds {self._max_body} bytes"

    async def _pass_on(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        path = scope["raw_path"] if scope.get("raw_path") else scope["path"].encode()
        query = scope.get("query_string", b"")
        target = path + (b"?" + query if query else b"")
        headers = [(name, value) for name, value in scope["headers"] if name not in _HOP_BY_HOP]
        has_body = any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])
        body = self._body(receive) if has_body else None
        url = httpx.URL("http://container").copy_with(raw_path=target)
        request = httpx.Request(scope["method"], url, headers=headers, content=body)
        client = await self._current_client()
        response = await client.send(request, stream=True)
        try:
            await answer.begin(response)
            async for piece in response.aiter_raw():
                await answer.more(piece)
            await answer.end()
        finally:
            await response.aclose()

    async def _body(self, receive: Receive) -> AsyncIterator[bytes]:
        size, loop = 0, asyncio.get_running_loop()
        ends = loop.time() + self.seconds
        while True:
            try:
                message = await asyncio.wait_for(receive(), ends - loop.time())
            except TimeoutError:
                raise _TooSlowError from None
            if message["type"] == "http.disconnect":
                raise _GoneError
            piece = message.get("body", b"")
            size += len(piece)
            if size > self._max_body:
                raise _TooLargeError
            yield piece
            if not message.get("more_body", False):
                return

    async def _current_client(self) -> httpx.AsyncClient:
        """Return the client of the container's present socket. Raises NoDoorError."""
        async with self._opening:
            if self._door is None or self._client is None or not self._door.is_current:
                # In a thread: the engine is asked, and may take its time.
                door = await asyncio.to_thread(self._open_door)
                if self._door is not None:
                    self._door.close()
                # Requests under way have their connections, and hold the former client until they are done.
                self._door, self._client = door, _client_of(door, self.seconds)
            return self._client


def _client_of(door: Door, timeout: float) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.AsyncHTTPTransport(
            uds=door.path, limits=httpx.Limits(max_connections=None, max_keepalive_connections=0)
        ),
        timeout=httpx.Timeout(timeout, connect=_LONGER),
        trust_env=False,
        follow_redirects=False,
    )


class NoHttp:
    """Answers for a container that takes its requests elsewhere: how it is, and nothing else."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - as ASGI calls it
        """One request."""
        answer = _Answer(send, False, Counters())
        if scope["path"] in ("/ping", "/health"):
            # A container that is not well has ended this server.
            await answer.whole(200, b"\n")
            return
        sentence = "cannot answer over HTTP: the image of this model takes its requests elsewhere (compose.http_socket)"
        await answer.refuse(501, "NOT_IMPLEMENTED", sentence)


class _TooLargeError(Exception):
    """The body is larger than it may be."""


class _TooSlowError(Exception):
    """The body has not arrived in time."""


class _GoneError(Exception):
    """The client closed its connection."""


class _Answer:
    """One answer, which is counted once, before it is sent: who has it may rely on that."""

    def __init__(self, send: Send, counts: bool, counters: Counters) -> None:
        self._send = send
        self._counts = counts
        self._counters = counters
        self._has_begun = False
        self._has_failed = False

    async def begin(self, response: httpx.Response) -> None:
        """Send the head of the container's answer."""
        failed = response.status_code >= 500 and response.status_code not in _NOT_THE_RELEASE
        if response.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
            self._count(failed)
        headers = [(name.lower(), value) for name, value in response.headers.raw if name.lower() not in _HOP_BY_HOP]
        await self._start(response.status_code, headers)

    async def more(self, piece: bytes) -> None:
        """Send a piece of its body."""
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    async def end(self) -> None:
        """End it."""
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def refuse(self, status: int, code: str, sentence: str, *, release_failed: bool = False) -> None:
        """Answer in place of the container. An answer that has begun is cut off: it cannot be taken back."""
        if self._has_begun:
            self._counters.errors += self._counts and release_failed and not self._has_failed
            raise CutOffError(sentence)
        if status != HTTPStatus.SERVICE_UNAVAILABLE:
            self._count(release_failed)
        answer = error_answer(status, code, sentence)
        await self.whole(status, answer.body.encode())

    async def whole(self, status: int, body: bytes) -> None:
        """Send a whole answer of ours."""
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            headers.append((b"retry-after", RETRY_AFTER.encode()))
        await self._start(status, headers)
        await self._send({"type": "http.response.body", "body": body})

    async def _start(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self._has_begun = True
        message: Message = {"type": "http.response.start", "status": status, "headers": headers}
        await self._send(message)

    def _count(self, failed: bool) -> None:
        self._has_failed = failed
        if self._counts:
            self._counters.count(failed)


def _declared(scope: Scope) -> int:
    """Return the length that a request declares for its body; 0 where it declares none."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            with contextlib.suppress(ValueError):
                return int(value)
    return 0
