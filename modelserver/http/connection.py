"""One connection: uvicorn's HTTP/1.1, with deadlines, stricter about what a request may look like.

These come from uvicorn as they are: it stops reading while more than 64 KiB of a body wait for the application, or a
further request waits for the answer to the one before; it closes a kept connection on which nothing has come for five
seconds after an answer; it runs the application in one task for each request.

What of uvicorn is overridden and used here is listed in modelserver.http.uvicorn_check.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from modelserver.answer import JSON
from modelserver.http.connection_limit import ConnectionLimit, ConnectionPhase
from modelserver.http.host_header import is_foreign_name
from modelserver.http.strict_h11 import MAX_HEAD_BYTES, MAX_HEADERS, StrictH11

RETRY_AFTER = "1"
# How long a client that was refused may take to read why, and how many such clients there may be.
_REFUSED_SECONDS = 1.0
_MAX_REFUSED = 128
# What a client did wrong is told to the client; a flood of it must not fill the journal.
_quiet_log = logging.getLogger("modelserver.http.connection")
_quiet_log.setLevel(logging.ERROR)

_REFUSALS = {
    400: "read the request: it is not valid HTTP/1.1",
    403: "answer: a web page that is not of this server sent this request; use this server's own page, over TLS, or "
    "under an address or a name without dots",
    421: "answer: the request is for another host; use an IP address, localhost or the name of this host",
    431: f"read the request: its head has more than {MAX_HEADERS} headers or {MAX_HEAD_BYTES} bytes",
    501: "read the request: its Transfer-Encoding is not known here; use chunked or Content-Length",
    505: "read the request: only HTTP/1.1 is spoken here",
}


@dataclass(frozen=True)
class ConnectionSettings:
    """What holds for every connection of a server. Times are in seconds."""

    release: str
    header_timeout: float
    send_timeout: float
    limit: ConnectionLimit
    on_refused: Callable[[int], None]
    """Told the status of an answer that the application knows nothing of."""


class Connection(H11Protocol):
    """uvicorn's protocol for one client that may be slow, broken or hostile.

    A connection that counts is in exactly one phase of the limit, and in READING_HEAD and only there it has a deadline.
    One that is refused does not count any more: what it still reads is thrown away, and it has a deadline, too.
    """

    def __init__(self, settings: ConnectionSettings, **from_uvicorn: Any) -> None:
        """As uvicorn makes it, under `settings`."""
        super().__init__(**from_uvicorn)
        self.logger = _quiet_log
        self.conn: StrictH11 = StrictH11(self)
        self._settings = settings
        self._limit = settings.limit
        self._deadline: asyncio.TimerHandle | None = None
        self._stall_check: asyncio.TimerHandle | None = None
        self._head_began = False
        self._is_refused = self._counts_as_refused = False
        self._paused_at = 0.0
        self._body_began_at = 0.0
        self._body_bytes = 0

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Takes the connection, if there is room."""
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn narrows asyncio's type
        if self._limit.make_room(self.loop.time()):
            self._wait_for_head()
        else:
            self._refuse_for_want_of_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection."""
        self._cancel_timers()
        self._limit.remove(self)
        self._limit.refused -= self._counts_as_refused
        self._counts_as_refused = False
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Reads more of a request."""
        if self._is_refused:
            return
        if not self._head_began:
            self._head_began = True
            is_further_request = self.cycle is not None and self.cycle.response_complete
            # A kept connection may be idle for long, but from its first byte on a further head has to be in time, too.
            if is_further_request:
                self._wait_for_head()
        super().data_received(data)

    def eof_received(self) -> None:
        """Notes that the client sends no more; it may still read."""
        if self._is_refused:
            self.transport.abort()
        super().eof_received()

    def pause_writing(self) -> None:
        """Watches a client that does not read its answer, or not fast enough."""
        super().pause_writing()
        self._paused_at = self.loop.time()
        self._check_reading_later(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Goes on when the client has read most of it."""
        super().resume_writing()
        if self._stall_check is not None:
            self._stall_check.cancel()
            self._stall_check = None

    # What StrictH11 calls

    def head_received(self) -> None:
        """The head of a request is complete: from here on the time limit of requests holds."""
        self._cancel_deadline()
        self._body_began_at = self.loop.time()
        self._body_bytes = 0
        self._limit.set_phase(self, ConnectionPhase.READING_BODY)

    def is_for_other_host(self, host: bytes) -> bool:
        """Whether the client names a host that is not this one."""
        return is_foreign_name(host, self.transport.get_extra_info("sockname"))

    def body_received(self, size: int) -> None:
        """`size` bytes more of the body are here."""
        self._body_bytes += size

    def request_complete(self) -> None:
        """All of the request is here, to be answered."""
        # The answer may have been sent without the body; then on_response_complete() has set the phase.
        is_answered = self.cycle is not None and self.cycle.response_complete
        if not is_answered:
            self._limit.set_phase(self, ConnectionPhase.REQUEST_COMPLETE)

    # What uvicorn calls

    def on_response_complete(self) -> None:
        """The next request, or the rest of a body that was not wanted, has to be here in time."""
        self._wait_for_head()
        # Bytes of an unfinished body do not begin a head, which would move its deadline.
        self._head_began = self.conn.their_state is not h11.DONE
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - ours says more
        """Refuses what is no request, with the status that StrictH11 gives."""
        if self.cycle is not None and not self.cycle.response_complete:
            # The application must not answer any more: it is told that the client has gone.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        has_begun_to_answer = self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE)
        if has_begun_to_answer:
            self.transport.abort()
            return
        status = self.conn.refusal_status
        self._write_answer(status, "BAD_REQUEST", f"cannot {_REFUSALS.get(status, _REFUSALS[400])}")
        self._close_after_answer()

    def shutdown(self) -> None:
        """Ends with the server."""
        if self._is_refused:
            # Its answer is sent. uvicorn would have h11 end a request of which h11 knows no answer.
            self.transport.close()
        else:
            super().shutdown()

    def _should_upgrade(self) -> bool:
        return False  # there is nothing to upgrade to; the request is answered as the one that it is

    # What ConnectionLimit calls

    def body_rate(self, now: float) -> float:
        """Bytes of its body per second; the first second counts as a whole."""
        return self._body_bytes / max(now - self._body_began_at, 1.0)

    def abort(self) -> None:
        """Closes it at once; what was not sent is lost."""
        self.transport.abort()

    # What it does itself

    def _wait_for_head(self) -> None:
        self._cancel_deadline()
        self._limit.set_phase(self, ConnectionPhase.READING_HEAD)
        self._deadline = self.loop.call_later(self._settings.header_timeout, self.abort)

    def _refuse_for_want_of_room(self) -> None:
        """Every other connection is being answered."""
        sentence = "cannot answer: too many requests are under way; try again later"
        self._write_answer(503, "TEMPORARILY_UNAVAILABLE", sentence)
        self._close_after_answer()

    def _write_answer(self, status: int, code: str, message: str) -> None:
        """Answers without the application; the last answer of this connection."""
        # Past h11: it may be in a state in which it sends nothing, and with what it refused it would send nothing else.
        self._settings.on_refused(status)
        body = json.dumps({"error_code": code, "message": message}).encode()
        reason = HTTPStatus(status).phrase
        head = (
            f"HTTP/1.1 {status} {reason}\r\ncontent-type: {JSON}\r\ncontent-length: {len(body)}\r\n"
            f"connection: close\r\nmodel-release: {self._settings.release}\r\n"
        )
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            head += f"retry-after: {RETRY_AFTER}\r\n"
        self.transport.write(head.encode() + b"\r\n" + body)

    def _close_after_answer(self) -> None:
        """Ends our direction now, and the client's as soon as it has closed or the time is up."""
        # Closed with unread input, TCP resets the connection, and the client may never see the answer.
        self._is_refused = True
        self._limit.remove(self)
        self._cancel_timers()
        self._unset_keepalive_if_required()
        if self._limit.refused >= _MAX_REFUSED or not self.transport.can_write_eof():
            self.transport.close()
            return
        self._limit.refused += 1
        self._counts_as_refused = True
        self.transport.write_eof()
        self.flow.resume_reading()
        self._deadline = self.loop.call_later(_REFUSED_SECONDS, self.abort)

    def _check_reading_later(self, unsent: int) -> None:
        """Closes it when the client reads nothing of its answer for as long as a head may take."""

        def check() -> None:
            still_unsent = self.transport.get_write_buffer_size()
            reads_nothing = still_unsent >= unsent
            reads_too_slowly = self.loop.time() - self._paused_at > self._settings.send_timeout
            if reads_nothing or reads_too_slowly:
                self.abort()
            else:
                self._check_reading_later(still_unsent)

        self._stall_check = self.loop.call_later(self._settings.header_timeout, check)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _cancel_timers(self) -> None:
        self._cancel_deadline()
        if self._stall_check is not None:
            self._stall_check.cancel()
            self._stall_check = None
