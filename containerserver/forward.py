"""The web application in front of a container: passes requests on to its socket, or answers for one that has none."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus

import httpx
from starlette.types import Message, Receive, Scope, Send

from containerserver.door import Door, NoDoorError
from modelserver.answer import error_answer
from modelserver.errors import one_line
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
    """Passes requests on. A connection to the container for each: one that was kept may just be closing.

    The transport of httpx is used without its client: that would decode, follow, keep cookies, and write paths anew.
    """

    def __init__(self, open_door: Callable[[], Door], counters: Counters, max_body: int, timeout: float) -> None:
        """`open_door` raises NoDoorError. `max_body`: bytes; `timeout`: seconds of one request in the container."""
        self._open_door = open_door
        self._counters = counters
        self._max_body = max_body
        self.seconds = timeout + _LONGER
        """Until a request has arrived, and then until its answer begins."""
        self._door: Door | None = None
        self._transport: httpx.AsyncHTTPTransport | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        answer = _Answer(send, scope["path"] in _COUNTED, self._counters)
        if _declared(scope) > self._max_body:
            await answer.refuse(413, "BAD_REQUEST", self._too_large)
            return
        try:
            await self._while_somebody_waits(scope, receive, answer)
        except _TooLargeError:
            await answer.refuse(413, "BAD_REQUEST", self._too_large)
        except _TooSlowError:
            sentence = f"cannot read the request: it did not arrive within {self.seconds:g} s"
            await answer.refuse(408, "BAD_REQUEST", sentence)
        except _GoneError:
            return  # nobody is there to read an answer
        except httpx.ConnectTimeout:
            sentence = "cannot answer: too many requests are under way; try again later"
            await answer.refuse(503, "TEMPORARILY_UNAVAILABLE", sentence)
        except httpx.TimeoutException:
            sentence = "cannot answer: the container did not answer in time"
            await answer.refuse(504, "DEADLINE_EXCEEDED", sentence, release_failed=True)
        except (httpx.TransportError, NoDoorError) as error:
            _log.warning("the container did not answer %s: %s", one_line(scope["path"]), type(error).__name__)
            await answer.refuse(502, "BAD_GATEWAY", "cannot answer: the container ended", release_failed=True)
        except asyncio.CancelledError:
            # At the drain limit. Not raised again: modelserver.http.app says why.
            sentence = "cannot answer: this server ends before the answer is there; try again"
            await answer.refuse(503, "TEMPORARILY_UNAVAILABLE", sentence)

    async def ping(self) -> bool:
        """Whether the container answers /ping with 200."""
        try:
            response = await self._send("GET", b"/ping", [(b"host", b"container")], None)
        except (httpx.TransportError, NoDoorError):
            return False
        # Its body may be anything, and is nothing to us.
        await response.aclose()
        return response.status_code == HTTPStatus.OK

    async def close(self) -> None:
        """Let go of the container."""
        if self._transport is not None:
            await self._transport.aclose()
        if self._door is not None:
            self._door.close()

    @property
    def _too_large(self) -> str:
        return f"cannot read the request: it exceeds {self._max_body} bytes"

    async def _while_somebody_waits(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        """Pass a request on, and give it up when its client has gone: the container would compute for nobody."""
        has_arrived = asyncio.Event()
        work = asyncio.ensure_future(self._pass_on(scope, receive, answer, has_arrived))
        watch = asyncio.ensure_future(_until_gone(receive, has_arrived))
        try:
            await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise _GoneError
            await work
        finally:
            for task in (work, watch):
                task.cancel()
            await asyncio.gather(work, watch, return_exceptions=True)

    async def _pass_on(self, scope: Scope, receive: Receive, answer: "_Answer", has_arrived: asyncio.Event) -> None:
        path = scope["raw_path"] if scope.get("raw_path") else scope["path"].encode()
        query = scope.get("query_string", b"")
        target = path + (b"?" + query if query else b"")
        headers = [(name, value) for name, value in scope["headers"] if name not in _HOP_BY_HOP]
        has_body = any(name in (b"content-length", b"transfer-encoding") for name, _ in scope["headers"])
        if not has_body:
            has_arrived.set()
        body = self._body(receive, has_arrived) if has_body else None
        response = await self._send(scope["method"], target, headers, body)
        try:
            await answer.begin(response)
            async for piece in response.aiter_raw():
                await answer.more(piece)
            await answer.end()
        finally:
            await response.aclose()

    async def _send(
        self, method: str, target: bytes, headers: list[tuple[bytes, bytes]], body: AsyncIterator[bytes] | None
    ) -> httpx.Response:
        """Send a request to the container; `target`: exactly as it is to be in the request's first line."""
        limits = {"connect": _LONGER, "read": self.seconds, "write": self.seconds, "pool": _LONGER}
        request = httpx.Request(
            method,
            "http://container/",
            headers=headers,
            content=body,
            extensions={"target": target, "timeout": limits},
        )
        response = await self._current_transport().handle_async_request(request)
        response.request = request
        return response

    async def _body(self, receive: Receive, has_arrived: asyncio.Event) -> AsyncIterator[bytes]:
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
                has_arrived.set()
                return

    def _current_transport(self) -> httpx.AsyncHTTPTransport:
        """Return the way to the container's present socket. Raises NoDoorError."""
        if self._door is not None and self._transport is not None and self._door.is_current:
            return self._transport
        door = self._open_door()
        if self._door is not None:
            self._door.close()
        # Requests under way have their connections, and hold the former transport until they are done.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
        self._door, self._transport = door, httpx.AsyncHTTPTransport(uds=door.path, limits=limits)
        return self._transport


async def _until_gone(receive: Receive, has_arrived: asyncio.Event) -> None:
    """Wait until a client has closed its connection, after its request has arrived."""
    await has_arrived.wait()
    while (await receive())["type"] != "http.disconnect":
        pass


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
