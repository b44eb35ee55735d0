"""h11's state machine, which tells its owner what arrived and refuses what h11 lets through."""

from __future__ import annotations

import re
from typing import Any, Protocol

import h11

MOST_HEADERS = 100
MOST_HEAD_BYTES = 32 << 10
# A body in more pieces than this has to have a sensible size of piece: each costs as much as a whole small request.
_MOST_PIECES = 4096
_SMALLEST_PIECE = 256
_VERSIONS = (b"1.0", b"1.1")
_BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")


class Owner(Protocol):
    """Who has the connection."""

    def head_arrived(self) -> None:
        """The head of a request is complete."""

    def body_arrives(self, size: int) -> None:
        """So many bytes of its body."""

    def request_complete(self) -> None:
        """All of the request is here."""

    def misled(self, host: bytes) -> bool:
        """Whether a client that names this host meant another server."""


class Wire(h11.Connection):
    """Raises RemoteProtocolError for what is refused, and keeps the status of the refusal in `refused_with`."""

    def __init__(self, owner: Owner) -> None:
        """Tells `owner`."""
        super().__init__(h11.SERVER, MOST_HEAD_BYTES)
        self.refused_with = 400
        self._owner = owner
        self._pieces = 0
        self._bytes = 0
        self._chunks: bytes | None = None  # the end of what has arrived of a body in chunks

    def receive_data(self, data: bytes) -> None:
        """More bytes."""
        if self._chunks is not None:
            self._chunks = self._chunks[-2 * MOST_HEAD_BYTES :] + data
        super().receive_data(data)

    def next_event(self) -> Any:
        """What these bytes say next."""
        arrived = self.trailing_data[0] if self.their_state is h11.IDLE else b""
        try:
            event = super().next_event()
            if isinstance(event, h11.Request):
                self._check_head(event, arrived)
                self._owner.head_arrived()
            elif isinstance(event, h11.Data):
                self._check_pieces(len(event.data))
                self._owner.body_arrives(len(event.data))
            elif isinstance(event, h11.EndOfMessage):
                self._check_end(len(event.headers))
                self._owner.request_complete()
        except h11.RemoteProtocolError as error:
            self.refused_with = error.error_status_hint
            raise
        return event

    def _check_head(self, head: h11.Request, arrived: bytes) -> None:
        if head.http_version not in _VERSIONS:
            _refuse("only HTTP/1.1 is spoken here", 505)
        size = len(head.method) + len(head.target) + sum(len(name) + len(value) for name, value in head.headers)
        if len(head.headers) > MOST_HEADERS or size > MOST_HEAD_BYTES:
            _refuse("the head is too large", 431)
        rest = self.trailing_data[0]
        # What is in front of this server may have read these lines as one.
        if _BARE_LINE_FEED.search(arrived[: len(arrived) - len(rest)]):
            _refuse("a line ends without a carriage return")
        names = {name for name, _ in head.headers}
        # Two ways to say where the body ends: what is in front of this server may have chosen the other one.
        if b"transfer-encoding" in names and (b"content-length" in names or head.http_version == b"1.0"):
            _refuse("it says in two ways how long it is")
        if any(name == b"host" and self._owner.misled(value) for name, value in head.headers):
            _refuse("it is for another server", 421)
        self._pieces = self._bytes = 0
        self._chunks = rest if b"transfer-encoding" in names else None

    def _check_pieces(self, size: int) -> None:
        self._pieces += 1
        self._bytes += size
        if self._pieces > _MOST_PIECES and self._bytes < self._pieces * _SMALLEST_PIECE:
            _refuse("the body comes in too many small pieces")

    def _check_end(self, trailers: int) -> None:
        """Refuses a body in chunks whose last lines do not end as those of its head must."""
        if self._chunks is None:
            return
        read = self._chunks[: len(self._chunks) - len(self.trailing_data[0])]
        last_chunk, *lines = read.split(b"\n")[-(trailers + 3) : -1]
        if last_chunk.partition(b";")[0].strip(b"0 \t\r") or not all(line.endswith(b"\r") for line in lines):
            _refuse("a line ends without a carriage return, or is folded")
        self._chunks = None


def _refuse(why: str, status: int = 400) -> None:
    raise h11.RemoteProtocolError(why, error_status_hint=status)
