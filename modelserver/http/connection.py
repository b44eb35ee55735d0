"""One connection: uvicorn's HTTP/1.1, with deadlines, stricter about what a request may look like."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from modelserver.answer import JSON
from modelserver.http.connection_limit import Crowd, Doing
from modelserver.http.host_header import misled
from modelserver.http.wire import MOST_HEAD_BYTES, MOST_HEADERS, Wire

RETRY_AFTER = "1"
# How long one that found no room may take to read that, and how many such there may be.
_LEAVING_SECONDS = 1.0
_MOST_LEAVING = 128
# What a client did wrong is told to the client; a flood of it must not fill the journal.
_quiet = logging.getLogger("modelserver.http.connection")
_quiet.setLevel(logging.ERROR)


@dataclass(frozen=True)
class Rules:
    """What holds for every connection of a server."""

    release: str
    header_timeout: float
    send_timeout: float
    crowd: Crowd


class Connection(H11Protocol):
    """uvicorn's protocol for one client that may be slow, broken or hostile."""

    def __init__(self, rules: Rules, **uvicorns: Any) -> None:
        """As uvicorn makes it, under `rules`."""
        super().__init__(**uvicorns)
        self.logger = _quiet
        self.conn: Wire = Wire(self)
        self._rules = rules
        self._crowd = rules.crowd
        self._deadline: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._began = False
        self._leaving = self._lingers = False
        self._paused_since = 0.0
        self._sending_since = 0.0
        self._received = 0

    # What asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Takes it, if there is room."""
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn narrows asyncio's type
        if self._crowd.make_room(self.loop.time()):
            self._wait()
        else:
            self._turn_away()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._cancel()
        self._crowd.leave(self)
        self._crowd.leaving -= self._lingers
        self._lingers = False
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """More of a request."""
        if self._leaving:
            return
        if not self._began:
            self._began = True
            if self.cycle is not None and self.cycle.response_complete:
                self._wait()  # a further request begins
        super().data_received(data)

    def eof_received(self) -> None:
        """The client sends no more; it may still read."""
        if self._leaving:
            self.transport.abort()
        super().eof_received()

    def pause_writing(self) -> None:
        """The client does not read its answer, or not fast enough."""
        super().pause_writing()
        self._paused_since = self.loop.time()
        self._watch_reader(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """It has read most of it."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    # What the wire tells

    def head_arrived(self) -> None:
        """The head of a request is complete: from here on the time limit of requests holds."""
        self._cancel_deadline()
        self._sending_since = self.loop.time()
        self._received = 0
        self._crowd.move(self, Doing.SENDING)

    def misled(self, host: bytes) -> bool:
        """Whether the client names a host that is not this one."""
        return misled(host, self.transport.get_extra_info("sockname"))

    def body_arrives(self, size: int) -> None:
        """So many bytes of it."""
        self._received += size

    def request_complete(self) -> None:
        """There is a request to be answered, unless that was done without its body."""
        if self.cycle is None or not self.cycle.response_complete:
            self._crowd.move(self, Doing.ANSWERED)

    # What uvicorn tells

    def on_response_complete(self) -> None:
        """The next request, or the rest of a body that was not wanted, has to be here in time."""
        self._wait()
        self._began = self.conn.their_state is not h11.DONE  # the deadline of an unfinished body is not moved
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - ours says more
        """Refuses what is no request."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # nobody else is to answer it
            self.cycle.message_event.set()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()
            return
        status = self.conn.refused_with
        self._answer(status, "BAD_REQUEST", f"cannot {_REFUSALS.get(status, _REFUSALS[400])}")
        self._leave()

    def shutdown(self) -> None:
        """The server ends; what leaves already has had its answer."""
        if self._leaving:
            self.transport.close()
        else:
            super().shutdown()

    def _should_upgrade(self) -> bool:
        return False  # there is nothing to upgrade to; the request is answered as the one that it is

    # What it does

    def pace(self, now: float) -> float:
        """Bytes of its body per second; the first second counts as a whole."""
        return self._received / max(now - self._sending_since, 1.0)

    def evict(self) -> None:
        """Closes it at once."""
        self.transport.abort()

    def _wait(self) -> None:
        """Waits for a complete head."""
        self._cancel_deadline()
        self._crowd.move(self, Doing.WAITING)
        self._deadline = self.loop.call_later(self._rules.header_timeout, self.evict)

    def _turn_away(self) -> None:
        """Everybody else is being answered."""
        self._answer(503, "TEMPORARILY_UNAVAILABLE", "cannot answer: too many requests are under way; try again later")
        self._leave()

    def _answer(self, status: int, code: str, message: str) -> None:
        """An answer without the application, the last one of this connection."""
        body = json.dumps({"error_code": code, "message": message}).encode()
        reason = HTTPStatus(status).phrase
        head = (
            f"HTTP/1.1 {status} {reason}\r\ncontent-type: {JSON}\r\ncontent-length: {len(body)}\r\n"
            f"connection: close\r\nmodel-release: {self._rules.release}\r\n"
        )
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            head += f"retry-after: {RETRY_AFTER}\r\n"
        self.transport.write(head.encode() + b"\r\n" + body)

    def _leave(self) -> None:
        """Ends this direction, and the other one soon: closed with unread input, TCP might take the answer back."""
        self._leaving = True
        self._crowd.leave(self)
        self._cancel()
        self._unset_keepalive_if_required()
        if self._crowd.leaving >= _MOST_LEAVING or not self.transport.can_write_eof():
            self.transport.close()
            return
        self._crowd.leaving += 1
        self._lingers = True
        self.transport.write_eof()
        self.flow.resume_reading()
        self._deadline = self.loop.call_later(_LEAVING_SECONDS, self.evict)

    def _watch_reader(self, left: int) -> None:
        """Closes it when nothing of its answer is read for as long as a head may take."""

        def check() -> None:
            now_left = self.transport.get_write_buffer_size()
            if now_left >= left or self.loop.time() - self._paused_since > self._rules.send_timeout:
                self.evict()
            else:
                self._watch_reader(now_left)

        self._stalled = self.loop.call_later(self._rules.header_timeout, check)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _cancel(self) -> None:
        self._cancel_deadline()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None


_REFUSALS = {
    400: "read the request: it is not valid HTTP/1.1",
    421: "answer: the request is for another host; use an IP address, localhost or the name of this host",
    431: f"read the request: its head has more than {MOST_HEADERS} headers or {MOST_HEAD_BYTES} bytes",
    501: "read the request: its Transfer-Encoding is not known here; use chunked or Content-Length",
    505: "read the request: only HTTP/1.1 is spoken here",
}
