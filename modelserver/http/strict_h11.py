"""h11's state machine, which tells its observer what arrived and refuses what h11 lets through.

Requests that h11 and a proxy in front of this server could read in two ways are refused, so that nobody can hide a
second request in the first (request smuggling).
"""

from __future__ import annotations

import re
from typing import Any, Protocol

import h11

from modelserver.http.foreign_page import is_from_foreign_page

MAX_HEADERS = 100
MAX_HEAD_BYTES = 32 << 10
# A body in more pieces than this has to have a sensible size of piece: each costs as much as a whole small request.
_MANY_PIECES = 4096
_MIN_PIECE_BYTES = 256
_VERSIONS = (b"1.0", b"1.1")
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")


class RequestObserver(Protocol):
    """The owner of the connection, which is told how far a request has come."""

    def head_received(self) -> None:
        """The head of a request is complete."""

    def body_received(self, size: int) -> None:
        """`size` bytes more of its body are here."""

    def request_complete(self) -> None:
        """All of the request is here."""

    def is_for_other_host(self, host: bytes) -> bool:
        """Whether a client that names this host meant another server."""


class StrictH11(h11.Connection):
    """The server's side of one connection.

    Raises h11.RemoteProtocolError for what is refused, and keeps the status to answer with in `refusal_status`.
    """

    def __init__(self, observer: RequestObserver) -> None:
        """Tells `observer` what arrives."""
        super().__init__(h11.SERVER, MAX_HEAD_BYTES)
        self.refusal_status = 400
        self._observer = observer
        self._pieces = 0
        self._body_bytes = 0
        # The end of what has arrived of a body in chunks; None where there is no such body.
        self._chunked_tail: bytes | None = None

    def receive_data(self, data: bytes) -> None:
        """More bytes of the client's."""
        # h11 does not tell how the lines of a body ended, so its end is kept. h11 refuses an unfinished line, and
        # unfinished trailers, of more than MAX_HEAD_BYTES: twice that holds the last chunk's line and what follows it.
        if self._chunked_tail is not None:
            self._chunked_tail = self._chunked_tail[-2 * MAX_HEAD_BYTES :] + data
        super().receive_data(data)

    def next_event(self) -> Any:
        """What these bytes say next. Raises h11.RemoteProtocolError."""
        unread = self.trailing_data[0] if self.their_state is h11.IDLE else b""
        try:
            event = super().next_event()
            if isinstance(event, h11.Request):
                self._check_head(event, unread)
                self._observer.head_received()
            elif isinstance(event, h11.Data):
                self._check_pieces(len(event.data))
                self._observer.body_received(len(event.data))
            elif isinstance(event, h11.EndOfMessage):
                self._check_end(len(event.headers))
                self._observer.request_complete()
        except h11.RemoteProtocolError as error:
            self.refusal_status = error.error_status_hint
            raise
        return event

    def _check_head(self, head: h11.Request, unread: bytes) -> None:
        """`unread` is what had arrived before `head` was read from its beginning."""
        if head.http_version not in _VERSIONS:
            _refuse("only HTTP/1.1 is spoken here", 505)
        if _is_too_large(head):
            _refuse("the head is too large", 431)
        rest = self.trailing_data[0]
        # What is in front of this server may have read these lines as one.
        if _BARE_LINE_FEED.search(unread[: len(unread) - len(rest)]):
            _refuse("a line ends without a carriage return")
        is_chunked = bool(_values(head, b"transfer-encoding"))
        # Two ways to say where the body ends: what is in front of this server may have chosen the other one.
        if is_chunked and _may_have_another_length(head):
            _refuse("it says in two ways how long it is")
        if any(map(self._observer.is_for_other_host, _values(head, b"host"))):
            _refuse("it is for another server", 421)
        if is_from_foreign_page(head.method, head.headers):
            _refuse("a page from elsewhere sent it", 403)
        self._pieces = self._body_bytes = 0
        self._chunked_tail = rest if is_chunked else None

    def _check_pieces(self, size: int) -> None:
        self._pieces += 1
        self._body_bytes += size
        if self._pieces > _MANY_PIECES and self._body_bytes < self._pieces * _MIN_PIECE_BYTES:
            _refuse("the body comes in too many small pieces")

    def _check_end(self, trailers: int) -> None:
        """Refuses a body in chunks whose last lines do not end as those of its head must."""
        if self._chunked_tail is None:
            return
        read = self._chunked_tail[: len(self._chunked_tail) - len(self.trailing_data[0])]
        # The line of the last chunk, one for each trailer, and the empty line; behind them is what was not read.
        last_chunk, *lines = read.split(b"\n")[-(trailers + 3) : -1]
        is_last_chunk = not last_chunk.partition(b";")[0].strip(b"0 \t\r")
        # A folded trailer has more lines than h11 counts trailers: then the first of these is not that of the chunk.
        if not is_last_chunk or not all(line.endswith(b"\r") for line in lines):
            _refuse("a line ends without a carriage return, or is folded")
        self._chunked_tail = None


def _is_too_large(head: h11.Request) -> bool:
    # h11's own limit holds for a head that is not complete; one that arrives at once may be larger.
    size = len(head.method) + len(head.target) + sum(len(name) + len(value) for name, value in head.headers)
    return len(head.headers) > MAX_HEADERS or size > MAX_HEAD_BYTES


def _may_have_another_length(head: h11.Request) -> bool:
    # HTTP/1.0 knows no chunks: there the end of the connection is the end of the body.
    return bool(_values(head, b"content-length")) or head.http_version == b"1.0"


def _values(head: h11.Request, header: bytes) -> list[bytes]:
    return [value for name, value in head.headers if name == header]


def _refuse(why: str, status: int = 400) -> None:
    raise h11.RemoteProtocolError(why, error_status_hint=status)
