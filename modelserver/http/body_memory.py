"""Receives bodies into a memory that all requests share, and decides which gives way when it is full."""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request

from modelserver.http.interruption import Interruption

_MAX_DIGITS = 18
_HUGE = 10 ** (_MAX_DIGITS + 1)
_FULL = "cannot read the request: the memory for requests is full; try again later"


class BusyError(Exception):
    """There is no room for this request now; the message is a sentence for the client."""


class BodyTooLargeError(Exception):
    """The body is, or says that it will be, larger than allowed."""


class BodyMemory:
    """The bodies of all requests, from their first byte until the model has answered: at most `limit` bytes.

    When it is full, the largest body that still arrives gives way. So a few clients that send much cannot keep others
    out. For the event loop only.
    """

    def __init__(self, limit: int) -> None:
        """Nothing has arrived yet."""
        self.limit = limit
        self.used = 0
        self._arriving: set[Upload] = set()

    def upload(self) -> Upload:
        """For the body of one request; to be freed in the end."""
        return Upload(self)

    def begin(self, upload: Upload, declared: int) -> None:
        """A body begins to arrive that says that it has `declared` bytes, 0 when it does not say. Raises BusyError.

        Reserves nothing: larger bodies give way until `declared` bytes fit at this moment, and others may take that
        room before this body has filled it. Only bytes that have arrived are counted, by `grow`.
        """
        while self.used + declared > self.limit:
            largest = self._largest_arriving()
            # One that has as much already as this one wants is further on: it may finish.
            if largest is None or largest.size <= declared:
                raise BusyError(_FULL)
            largest.give_way()
        self._arriving.add(upload)

    def grow(self, upload: Upload, size: int) -> None:
        """`size` bytes more have arrived. Raises BusyError when `upload` itself has to give way."""
        self.used += size
        upload.size += size
        while self.used > self.limit:
            largest = self._largest_arriving()
            if largest is None or largest is upload:
                raise BusyError(_FULL)
            largest.give_way()

    def end(self, upload: Upload) -> None:
        """Nothing more arrives; from here on the body does not give way."""
        self._arriving.discard(upload)

    def _largest_arriving(self) -> Upload | None:
        return max(self._arriving, key=lambda upload: upload.size, default=None)


class Upload:
    """The body of one request."""

    def __init__(self, memory: BodyMemory) -> None:
        """Nothing has arrived."""
        self.body = bytearray()
        self.size = 0
        self.complete = False
        self._memory = memory
        self._receiving = Interruption()

    async def receive(self, request: Request, limit: int) -> None:
        """Receives all of it, at most `limit` bytes. Raises BusyError, BodyTooLargeError, ClientDisconnect."""
        # Checked before the first byte is asked for: that would tell a client that waits to be asked
        # (Expect: 100-continue) to go on.
        declared = declared_length(request)
        if declared > limit:
            raise BodyTooLargeError
        self._memory.begin(self, declared)
        try:
            with self._receiving:
                await self._read(request, limit)
        finally:
            self._memory.end(self)

    def give_way(self) -> None:
        """Ends receiving and frees the memory, for the good of others."""
        self._memory.end(self)
        self.free()
        self._receiving.interrupt(BusyError(_FULL))

    def free(self) -> None:
        """Gives its memory back; to be called in the event loop, when nobody reads the body any more."""
        self._memory.used -= self.size
        self.size = 0
        self.body = bytearray()

    async def _read(self, request: Request, limit: int) -> None:
        more = True
        while more:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            chunk: bytes = message.get("body", b"")
            if self.size + len(chunk) > limit:
                raise BodyTooLargeError
            more = message.get("more_body", False)
            self._memory.grow(self, len(chunk))
            self.body += chunk
        self.complete = True
        self._memory.end(self)  # here, before anybody else runs: a complete body does not give way any more


def declared_length(request: Request) -> int:
    """How long `request` says that its body is; 0 when it does not say."""
    length = request.headers.get("content-length", "")
    if not length.isdecimal():
        return 0
    # Python refuses to read a number of thousands of digits.
    return int(length) if len(length) <= _MAX_DIGITS else _HUGE
