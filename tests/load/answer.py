"""Reads HTTP/1.1 answers, one at a time, from the bytes of a connection."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_END_OF_HEAD = b"\r\n\r\n"
_HEXADECIMAL = re.compile(rb"[0-9A-Fa-f]{1,8}")
_NO_BODY = (204, 304)


class MalformedError(Exception):
    """What arrived is not an HTTP answer, or more than one."""


@dataclass(frozen=True, slots=True)
class Head:
    """What an answer says before its body."""

    status: int
    release: str
    """The header Model-Release; empty if there is none."""
    length: int | None
    """None: chunked, or until the end of the connection."""
    chunked: bool
    closes: bool
    """Whether it announces that the connection ends with it."""


class Answers:
    """The answers on one connection."""

    def __init__(self) -> None:
        """Nothing has arrived."""
        self._arrived = b""
        self._head: Head | None = None

    @property
    def begun(self) -> bool:
        """Whether a part of the next answer has arrived."""
        return bool(self._arrived) or self._head is not None

    def feed(self, data: bytes) -> tuple[Head, bytes] | None:
        """The answer and its body if it is complete with this; fails if more than that arrived."""
        self._arrived += data
        while self._head is None:
            raw, end, rest = self._arrived.partition(_END_OF_HEAD)
            if not end:
                return None
            head, self._arrived = _head(raw), rest
            if head.status >= 200:  # any other is provisional
                self._head = head
        head = self._head
        if head.length is not None:
            missing = head.length - len(self._arrived)
            if missing > 0:
                return None
            return self._complete(head, self._arrived, surplus=-missing)
        if not head.chunked:
            return None
        found = _joined(self._arrived)
        return self._complete(head, found[0], len(self._arrived) - found[1]) if found else None

    def end(self) -> tuple[Head, bytes] | None:
        """The answer, if the end of the connection completes it."""
        head = self._head
        if head is None or head.chunked or head.length is not None:
            return None
        return self._complete(head, self._arrived, surplus=0)

    def _complete(self, head: Head, body: bytes, surplus: int) -> tuple[Head, bytes]:
        if surplus:
            raise MalformedError(f"{surplus} bytes more than the answer has, which is {head.status} {body[:100]!r}")
        self._arrived, self._head = b"", None
        return head, body


# Answers of one release differ in their Date alone.
@lru_cache(maxsize=256)
def _head(raw: bytes) -> Head:
    first, *lines = raw.decode("latin-1").split("\r\n")
    protocol, _, status = first.partition(" ")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise MalformedError(f"a header without a colon: {line[:100]!r}")
        headers[name.lower()] = value.strip()
    length = headers.get("content-length")
    if protocol not in ("HTTP/1.1", "HTTP/1.0") or not status[:3].isdecimal() or not (length or "0").isdecimal():
        raise MalformedError(f"not the head of an answer: {raw[:200]!r}")
    number = int(status[:3])
    chunked = headers.get("transfer-encoding", "").lower() == "chunked"
    known = 0 if number in _NO_BODY else int(length) if length is not None and not chunked else None
    options = {option.strip() for option in headers.get("connection", "").lower().split(",")}
    closes = "close" in options or (protocol == "HTTP/1.0" and "keep-alive" not in options)
    until_end = known is None and not chunked
    return Head(number, headers.get("model-release", ""), known, chunked and known is None, closes or until_end)


def _joined(arrived: bytes) -> tuple[bytes, int] | None:
    """A chunked body and how many bytes it took, or None if it is not complete."""
    body, position = b"", 0
    while (end := arrived.find(b"\r\n", position)) >= 0:
        digits = arrived[position:end].partition(b";")[0].strip()
        if not _HEXADECIMAL.fullmatch(digits):
            raise MalformedError(f"not the size of a chunk: {arrived[position:end][:100]!r}")
        size = int(digits, 16)
        position = end + 2
        if not size:
            # No server here sends trailers: what comes instead of the empty line is surplus, hence reported.
            return (body, position + 2) if len(arrived) >= position + 2 else None
        body += arrived[position : position + size]
        position += size + 2
    return None
