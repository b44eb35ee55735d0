"""What comes to the address of a server in containers reaches the container, and its answer comes back, unchanged."""

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from containerserver.door import Door, Root
from containerserver.forward import Forward, NoHttp
from modelserver.systemd.counters import Counters
from tests.modelserver.process import wait_until

MAX_BODY = 100_000


class ENDLESS:
    """What the container does with answers that never end."""

    under_way = 0
    ping = False


async def _soon(message: Any) -> Any:
    """A message that comes within a moment; else None."""
    try:
        return await asyncio.wait_for(message, 0.01)
    except TimeoutError:
        return None


async def container(scope: Scope, receive: Receive, send: Send) -> None:
    """A server in a container: tells what it was sent, or does what the path says."""
    body, chunks = b"", 0
    while True:
        message = await receive()
        body += message.get("body", b"")
        chunks += 1
        if not message.get("more_body", False):
            break
    status = int(scope["path"].rpartition("/")[2]) if scope["path"].startswith("/status/") else 200
    sent = [(name.decode(), value.decode()) for name, value in scope["headers"]]
    told = repr((scope["method"], scope["raw_path"], scope["query_string"], sorted(sent), len(body))).encode()
    headers = [(b"x-own", b"1"), (b"x-own", b"2"), (b"model-release", b"a lie"), (b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    if scope["path"] == "/endless" or (scope["path"] == "/ping" and ENDLESS.ping):
        ENDLESS.under_way += 1
        try:
            while (await _soon(receive())) is None:
                await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
        finally:
            ENDLESS.under_way -= 1
        return
    if scope["path"] == "/torn":
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise RuntimeError("torn")
    await send({"type": "http.response.body", "body": told})


@dataclass
class Front:
    """A client of the front, and what the front counted."""

    client: httpx.Client
    counters: Counters
    inner: uvicorn.Server
    socket: Path
    forward: Forward


class _Thread(threading.Thread):
    def __init__(self, application: Any, **where: Any) -> None:
        super().__init__(daemon=True)
        self.server = uvicorn.Server(
            uvicorn.Config(application, log_level="critical", lifespan="off", server_header=False, **where)
        )
        self.start()
        while not self.server.started:
            if not self.is_alive():
                raise RuntimeError("the server did not start")

    def run(self) -> None:
        asyncio.run(self.server.serve())

    def stop(self) -> None:
        self.server.should_exit = True
        self.join(20)


@pytest.fixture
def front(tmp_path: Path) -> Iterator[Front]:
    """A container's server at a unix socket, and the front before it at another one."""
    place, outer = tmp_path / "http.sock", tmp_path / "front.sock"
    counters = Counters()
    inner = _Thread(container, uds=str(place))
    forward = Forward(lambda: Door(Root(os.getpid()), str(place)), counters, MAX_BODY, 5.0)
    before = _Thread(forward, uds=str(outer))
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(outer)), base_url="http://model") as client:
        yield Front(client, counters, inner.server, place, forward)
    before.stop()
    inner.stop()


def test_a_request_arrives_as_it_was_sent(front: Front) -> None:
    """Its path and query as they were written, its headers but for those of one connection, its body."""
    answer = front.client.post(
        "/a%20b/%2F?q=1%202&q=3", content=b"x" * 5000, headers=[("x-own", "a"), ("x-own", "b"), ("te", "trailers")]
    )
    assert answer.status_code == 200
    for part in ("'POST'", "b'/a%20b/%2F'", "b'q=1%202&q=3'", "('x-own', 'a'), ('x-own', 'b')", "5000)", "'model'"):
        assert part in answer.text, answer.text
    assert "trailers" not in answer.text
    assert answer.headers.get_list("x-own") == ["1", "2"]
    assert "model-release" not in answer.headers, "the release is what systemd runs, not what a container says"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "DELETE"])
def test_any_method_is_passed_on(front: Front, method: str) -> None:
    """The container decides what it takes."""
    answer = front.client.request(method, "/")
    assert (answer.status_code, f"('{method}'" in answer.text) == (200, method != "HEAD")


def test_a_body_without_a_length_arrives_whole(front: Front) -> None:
    """In chunks, as it came."""

    def pieces() -> Iterator[bytes]:
        for _ in range(7):
            yield b"x" * 1000

    assert "7000)" in front.client.post("/predict", content=pieces()).text


@pytest.mark.parametrize("declared", [True, False])
def test_a_body_that_is_too_large_is_refused(front: Front, declared: bool) -> None:
    """By its length, or when it has become too large."""

    def pieces() -> Iterator[bytes]:
        for _ in range(30):
            yield b"x" * 10_000

    content: Any = b"x" * 300_000 if declared else pieces()
    answer = front.client.post("/predict", content=content)
    assert (answer.status_code, answer.json()["error_code"]) == (413, "BAD_REQUEST")
    assert (front.counters.requests, front.counters.errors) == (1, 0)


@pytest.mark.parametrize(
    ("status", "counted"), [(200, (1, 0)), (400, (1, 0)), (500, (1, 1)), (501, (1, 0)), (503, (0, 0)), (504, (1, 1))]
)
def test_answers_are_counted_as_those_of_our_own_server(front: Front, status: int, counted: tuple[int, int]) -> None:
    """A busy server has neither answered nor failed."""
    front_path = f"/status/{status}"
    assert front.client.get(front_path).status_code == status
    assert (front.counters.requests, front.counters.errors) == (0, 0), "only what the model is asked counts"
    counters, sent = Counters(), []

    async def ask() -> None:
        forward = Forward(lambda: Door(Root(os.getpid()), str(front.socket)), counters, MAX_BODY, 5.0)
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/invocations",
            "raw_path": front_path.encode(),
            "headers": [],
        }

        async def receive() -> dict[str, object]:
            await asyncio.Event().wait()  # the client waits for its answer
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await forward(scope, receive, send)
        await forward.close()

    asyncio.run(ask())
    assert sent[0]["status"] == status
    assert (counters.requests, counters.errors) == counted


def test_a_container_that_is_gone_is_a_bad_gateway(front: Front) -> None:
    """And counts against the release: it ended while it served."""
    front.inner.should_exit = True
    wait_until(lambda: front.client.get("/ping").status_code != 200, "the container's server has ended")
    answer = front.client.post("/invocations", content=b"{}")
    assert (answer.status_code, answer.json()["error_code"]) == (502, "BAD_GATEWAY")
    assert (front.counters.requests, front.counters.errors) == (1, 1)


def test_an_answer_that_is_torn_is_torn(front: Front) -> None:
    """Never ended as if it were whole."""
    with pytest.raises(httpx.RemoteProtocolError):
        front.client.get("/torn")


def test_a_server_that_started_again_in_its_container_is_found(front: Front) -> None:
    """It has another socket at the same path; the container did not end, so nobody else would notice."""
    assert front.client.get("/ping").status_code == 200
    front.inner.should_exit = True
    wait_until(lambda: front.client.get("/ping").status_code != 200, "the container's server has ended")
    front.socket.unlink(missing_ok=True)
    again = _Thread(container, uds=str(front.socket))
    assert front.client.post("/invocations", content=b"{}").status_code == 200
    again.stop()


def test_a_body_that_does_not_arrive_is_given_up(front: Front) -> None:
    """And is the client's fault."""
    front.forward.seconds = 0.3
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(front.socket.with_name("front.sock")))
        client.sendall(b"POST /invocations HTTP/1.1\r\nhost: model\r\ncontent-length: 9\r\n\r\n{}")
        assert client.recv(1000).startswith(b"HTTP/1.1 408 ")
    assert (front.counters.requests, front.counters.errors) == (1, 0)


@pytest.mark.parametrize("target", ["/predict?#", '/predict?a=%zz|"', "/./predict/../x//y", "//model/x", "/a;b=c?d#e"])
def test_what_a_client_writes_into_the_first_line_arrives_and_is_never_the_releases_fault(
    front: Front, target: str
) -> None:
    """As it is: no path is made another one on the way."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(front.socket.with_name("front.sock")))
        client.sendall(f"GET {target} HTTP/1.1\r\nhost: model\r\nconnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: client.recv(65536), b"")).decode()
    path, _, query = target.partition("?")
    assert answer.startswith("HTTP/1.1 200 ")
    assert f"b'{path}'" in answer, answer
    assert repr(query.encode()) in answer, answer
    assert front.counters.errors == 0


def test_an_answer_for_nobody_is_given_up(front: Front) -> None:
    """Though it never ends: neither tasks nor descriptors stay."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(front.socket.with_name("front.sock")))
        client.sendall(b"GET /endless HTTP/1.1\r\nhost: model\r\n\r\n")
        assert client.recv(10)
        # The head may be here before the container counts what it began.
        wait_until(lambda: ENDLESS.under_way == 1, "the container's answer has begun")
    wait_until(lambda: ENDLESS.under_way == 0, "the container's answer is given up")
    assert front.client.get("/ping").status_code == 200


def test_a_container_cannot_hold_the_front_by_its_answer_to_ping(front: Front) -> None:
    """Only the status is looked at."""

    async def ask() -> bool:
        forward = Forward(lambda: Door(Root(os.getpid()), str(front.socket)), Counters(), MAX_BODY, 5.0)
        try:
            return await asyncio.wait_for(forward.ping(), 20)
        finally:
            await forward.close()

    ENDLESS.ping = True
    try:
        assert asyncio.run(ask())
    finally:
        ENDLESS.ping = False


def test_a_client_that_leaves_harms_nobody(front: Front) -> None:
    """Neither the next request nor the counters."""

    async def leave() -> None:
        async def pieces() -> AsyncIterator[bytes]:
            yield b"x"
            raise ConnectionError("gone")

        outer = str(front.socket.with_name("front.sock"))
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=outer)) as client:
            with pytest.raises(ConnectionError):
                await client.post("http://model/invocations", content=pieces())

    asyncio.run(leave())
    assert front.client.get("/ping").status_code == 200
    assert front.counters.errors == 0


def test_a_container_without_http_answers_how_it_is_and_nothing_else(tmp_path: Path) -> None:
    """Its requests come elsewhere."""
    server = _Thread(NoHttp(), uds=str(tmp_path / "front.sock"))
    transport = httpx.HTTPTransport(uds=str(tmp_path / "front.sock"))
    with httpx.Client(transport=transport, base_url="http://model") as client:
        assert client.get("/ping").status_code == 200
        answer = client.post("/invocations", content=b"{}")
    assert (answer.status_code, answer.json()["error_code"]) == (501, "NOT_IMPLEMENTED")
    server.stop()
