"""Clients that mean no good: plain sockets, by the thousand."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.modelserver.process import PATIENCE, ServerProcess

FORM = "multipart/form-data; boundary=b"
HEAD = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\n"


@contextlib.contextmanager
def connected(address: tuple[str, int], count: int, say: bytes = b"") -> Iterator[list[socket.socket]]:
    """`count` connections that each say something first, and stay; a server may well have closed some already."""
    connections: list[socket.socket] = []
    try:
        for _ in range(count):
            connection = socket.create_connection(address, PATIENCE)
            connections.append(connection)
            send(connection, say)
        yield connections
    finally:
        for connection in connections:
            connection.close()


def send(connection: socket.socket, what: bytes) -> bool:
    """Whether the server was there to take it."""
    try:
        connection.sendall(what)
    except OSError:
        return False
    return True


def ask(address: tuple[str, int] | str, request: bytes, half_close: bool = False) -> bytes:
    """Everything that is answered to these bytes until the server closes, or has answered once and waits."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(address)
        send(connection, request)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    """What the server says until it closes the connection."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            answer += piece
    return answer


def count_closed(connections: list[socket.socket]) -> int:
    """How many of them the server has closed by now."""
    poll = select.poll()
    by_number = {connection.fileno(): connection for connection in connections}
    for number in by_number:
        poll.register(number, select.POLLIN | select.POLLRDHUP)
    gone = 0
    for number, events in poll.poll(0):
        gone += bool(events & (select.POLLRDHUP | select.POLLHUP | select.POLLERR)) and number in by_number
    return gone


class Memory:
    """The memory that a server takes at most, from now on."""

    def __init__(self, server: ServerProcess) -> None:
        """Forgets what it took before."""
        self._process = Path(f"/proc/{server.process.pid}")
        (self._process / "clear_refs").write_text("5")
        self._before = self._peak()

    def grown(self) -> int:
        """By how many bytes its resident memory has grown at most."""
        return self._peak() - self._before

    def _peak(self) -> int:
        status = (self._process / "status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) << 10


def act_until(condition: Callable[[], bool], act: Callable[[], object]) -> None:
    """Goes on acting until the condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("acted in vain")
        act()
