"""Reads a request's body chunk by chunk and stops at the limit, before the rest is received."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.requests import ClientDisconnect, Request

_DIGITS = 19
_HUGE = 10**_DIGITS


class BodyTooLargeError(Exception):
    """The body is, or says that it will be, larger than allowed."""


def declared(request: Request) -> int:
    """How long `request` says that its body is; 0 when it does not."""
    length = request.headers.get("content-length", "")
    if not length.isdecimal():
        return 0
    return int(length) if len(length) < _DIGITS else _HUGE


async def chunks(request: Request, limit: int) -> AsyncIterator[bytes]:
    """The body of `request`, at most `limit` bytes of it. Raises BodyTooLargeError, ClientDisconnect."""
    # Checked before the first receive(), which would tell a client that asked (Expect: 100-continue) to go on.
    if declared(request) > limit:
        raise BodyTooLargeError
    received = 0
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk: bytes = message.get("body", b"")
        received += len(chunk)
        if received > limit:
            raise BodyTooLargeError
        more = message.get("more_body", False)
        yield chunk


def size(text: str) -> int:
    """Bytes of a size such as `64M` (K, M, G and T are binary, as in systemd). Raises ValueError."""
    factor = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}.get(text[-1:].upper(), 1)
    return int(text if factor == 1 else text[:-1]) * factor
