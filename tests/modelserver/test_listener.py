"""Answers leave at once on every connection, however the listening socket came about."""

from __future__ import annotations

import asyncio
import socket

import pytest

from modelserver.http import sockets
from modelserver.http.listener import Listener
from tests.modelserver.process import PATIENCE

CONNECTIONS = 8


def _made_without_a_protocol() -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


def _passed() -> socket.socket:
    """As sockets.inherited() makes it of a descriptor."""
    return socket.socket(fileno=_made_without_a_protocol().detach())


LISTENERS = {
    "bound to an address": lambda: sockets.bind("127.0.0.1:0")[0],
    "bound to a name": lambda: sockets.bind("localhost:0")[0],
    "made without a protocol": _made_without_a_protocol,
    "passed": _passed,
}


@pytest.mark.parametrize("kind", LISTENERS)
def test_no_answer_waits_for_a_fuller_packet(kind: str) -> None:
    """TCP_NODELAY is set on each of eight connections that are accepted."""

    async def without_delay() -> int:
        accepted: asyncio.Queue[int] = asyncio.Queue()

        class Noted(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                taken = transport.get_extra_info("socket")
                accepted.put_nowait(bool(taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))

        with LISTENERS[kind]() as shared:
            listener = Listener.on(shared, [], lambda: False)
            async with await asyncio.get_running_loop().create_server(Noted, sock=listener):
                clients = [socket.create_connection(shared.getsockname()[:2], PATIENCE) for _ in range(CONNECTIONS)]
                found = [await asyncio.wait_for(accepted.get(), PATIENCE) for _ in clients]
                for client in clients:
                    client.close()
        return sum(found)

    assert asyncio.run(without_delay()) == CONNECTIONS


def test_a_unix_socket_is_still_one() -> None:
    """It has no such option, and asyncio does not ask for it."""
    with socket.socket(socket.AF_UNIX) as shared, Listener.on(shared, [], lambda: False) as listener:
        assert (listener.family, listener.type) == (socket.AF_UNIX, socket.SOCK_STREAM)
