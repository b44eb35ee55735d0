"""Receives bodies into a memory that all requests share, and decides who gives way when it is full."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from modelserver.http.body import BodyTooLargeError, chunks, declared


class BusyError(Exception):
    """There is no room for this request now; the message is a sentence for the client."""


class Buffers:
    """The bodies of all requests, from their first byte until the model has answered, at most `most` bytes.

    When it is full the largest body that still arrives gives way: so a few that send much cannot keep others out.
    """

    def __init__(self, most: int) -> None:
        """Nothing is buffered yet."""
        self.most = most
        self.used = 0
        self._arriving: set[Upload] = set()

    def upload(self) -> Upload:
        """For the body of one request; to be released in the end."""
        return Upload(self)

    def begin(self, upload: Upload, size: int) -> None:
        """A body of `size` bytes is about to arrive, 0 when it did not say so. Raises BusyError."""
        while self.used + size > self.most:
            largest = self._largest()
            if largest is None or largest.size <= size:
                raise BusyError(_SENTENCE)
            largest.give_way()
        self._arriving.add(upload)

    def grow(self, upload: Upload, size: int) -> None:
        """`size` bytes more have arrived. Raises BusyError when `upload` itself has to give way."""
        self.used += size
        upload.size += size
        while self.used > self.most:
            largest = self._largest()
            if largest is None or largest is upload:
                raise BusyError(_SENTENCE)
            largest.give_way()

    def end(self, upload: Upload) -> None:
        """Nothing more arrives for it."""
        self._arriving.discard(upload)

    def _largest(self) -> Upload | None:
        return max(self._arriving, key=lambda upload: upload.size, default=None)


class Upload:
    """The body of one request."""

    def __init__(self, buffers: Buffers) -> None:
        """Nothing has arrived."""
        self.body = bytearray()
        self.size = 0
        self.complete = False
        self._buffers = buffers
        self._gave_way = False
        self._reading: asyncio.Task[None] | None = None

    async def receive(self, request: Request, limit: int) -> None:
        """Receives all of it. Raises BusyError, BodyTooLargeError, ClientDisconnect."""
        if declared(request) > limit:
            raise BodyTooLargeError
        self._buffers.begin(self, declared(request))
        self._reading = asyncio.ensure_future(self._read(request, limit))
        try:
            await self._reading
        except asyncio.CancelledError:
            if self._gave_way:
                raise BusyError(_SENTENCE) from None
            raise
        finally:
            self._buffers.end(self)

    def give_way(self) -> None:
        """Ends receiving, for the good of others."""
        self._gave_way = True
        self._buffers.end(self)
        self.release()
        if self._reading is not None:
            self._reading.cancel()

    def release(self) -> None:
        """Its memory is free; to be called in the event loop, when nobody reads the body any more."""
        self._buffers.used -= self.size
        self.size = 0
        self.body = bytearray()

    async def _read(self, request: Request, limit: int) -> None:
        async for chunk in chunks(request, limit):
            self._buffers.grow(self, len(chunk))
            self.body += chunk
        self.complete = True
        self._buffers.end(self)  # here and now: a complete body does not give way any more


_SENTENCE = "cannot read the request: the memory for requests is full; try again later"
