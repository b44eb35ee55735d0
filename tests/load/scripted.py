"""A server that answers each request with the bytes that a script says, and ends connections as the script says."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import threading
from collections.abc import Callable
from typing import Literal, NamedTuple, Self

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Reply(NamedTuple):
    """What is written, and what becomes of the connection then. `wait` never ends it."""

    content: bytes
    then: Literal["keep", "close", "reset", "wait"] = "keep"


Script = Callable[[int, bytes], Reply]
"""The reply to a request, by its number on its connection (from 1) and its bytes."""


def answer(release: str, body: object, *, status: int = 200, headers: str = "") -> bytes:
    """An answer of a release; `headers` are whole lines. An empty release leaves its header out."""
    content = json.dumps(body).encode()
    named = f"Model-Release: {release}\r\n" if release else ""
    return f"HTTP/1.1 {status} X\r\n{named}{headers}content-length: {len(content)}\r\n\r\n".encode() + content


class Scripted:
    """A server on a listening socket, in a thread of its own."""

    def __init__(self, listener: socket.socket, script: Script) -> None:
        """Prepare; entering the context starts it."""
        self.script = script
        """May be replaced while it serves."""
        self._listener = listener
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))

    def __enter__(self) -> Self:
        """Serve."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End, and drop every connection."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        connections: set[asyncio.Task[None]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            connections.add(task)
            try:
                await self._talk(reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError):
                pass  # the client left
            finally:
                connections.discard(task)
                writer.close()

        start = asyncio.start_unix_server if self._listener.family == socket.AF_UNIX else asyncio.start_server
        server = await start(connected, sock=self._listener)
        await self._end.wait()
        server.close()
        left = list(connections)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = 0
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].split()[0])
            request = head + await reader.readexactly(length)
            number += 1
            reply = self.script(number, request)
            writer.write(reply.content)
            await writer.drain()
            if reply.then == "wait":
                await self._end.wait()
            if reply.then == "reset":
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                writer.transport.abort()
            if reply.then != "keep":
                return
