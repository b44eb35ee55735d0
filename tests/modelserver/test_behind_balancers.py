"""Real load balancers, as docs/fleet has them, in front of a server that answers and two that do not."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType

import httpx
import pytest

from tests.balancers import PORTS, balancer, missing
from tests.modelserver.conftest import Address

pytestmark = pytest.mark.skipif(bool(missing(*PORTS)), reason="needs Debian's packages caddy, haproxy, nginx")

SMALL, LARGE = 256, 2 << 20
"""Bytes of a recording: a request that fits into each buffer, and one that does not."""


class Host:
    """Answers `/ping` as a host whose model is loaded, and ends each other connection once it has read from it."""

    def __init__(self) -> None:
        """Listen."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Host:
        """Begin to take connections."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Be gone."""
        self.refuse()

    def refuse(self) -> None:
        """Take no connection any more; the health check does not know it yet."""
        # A thread that waits for a connection goes on waiting when the listener is only closed.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, suppress(ConnectionError):
                if connection.recv(1 << 16).startswith(b"GET /ping "):
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                else:
                    # As when a process is killed: what it has not read makes the kernel reset the connection.
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def ask(address: str, size: int) -> httpx.Response:
    """Send one recording."""
    recording = bytes(range(256)) * (size // 256)
    parts = [("metadata", (None, b"{}")), ("aceite", ("a.wav", recording))]
    return httpx.post(f"{address}/predict", files=parts, timeout=30, trust_env=False)


@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("name", PORTS)
def test_hosts_that_refuse_connections_lose_no_request(name: str, size: int, echo: Address, tmp_path: Path) -> None:
    """Though the balancer learns it by these very requests."""
    served = str(echo.client.base_url).removeprefix("http://")
    with Host() as first, Host() as second, balancer(name, [first.address, second.address, served], tmp_path) as url:
        first.refuse()
        second.refuse()
        answers = [ask(url, size) for _ in range(5)]
    assert [(answer.status_code, answer.text) for answer in answers] == [(200, ask(f"http://{served}", size).text)] * 5


@pytest.mark.parametrize(("name", "size"), [("haproxy", SMALL), ("nginx", SMALL), ("nginx", LARGE)])
def test_hosts_that_end_connections_lose_no_request(name: str, size: int, echo: Address, tmp_path: Path) -> None:
    """With the balancers that can send such a request again."""
    served = str(echo.client.base_url).removeprefix("http://")
    with ExitStack() as stack:
        hosts = [stack.enter_context(Host()).address for _ in range(2)]
        url = stack.enter_context(balancer(name, [*hosts, served], tmp_path))
        answers = [ask(url, size).status_code for _ in range(5)]
    assert answers == [200] * 5
