"""Clients by the thousand that are slow, silent or greedy take nothing from the others, and bounded memory."""

# ruff: noqa: T201 - the figures are reported

from __future__ import annotations

import gzip
import json
import os
import resource
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.modelserver.conftest import Address
from tests.modelserver.hostile_clients import (
    FORM,
    HEAD,
    Memory,
    act_until,
    ask,
    connected,
    count_closed,
    read_all,
    send,
)
from tests.modelserver.load import Load
from tests.modelserver.process import PATIENCE, ServerProcess, listen, start, url, wait_until

MAX_BODY = 4 << 20
MAX_BUFFERED = 4 * MAX_BODY
CONNECTIONS = 1000
RELEASE = "echo@1.0badcafe"
# A head or a piece of a body per connection, each body once as it arrives and once as parts, and what Python and the
# allocator keep of it.
MOST_GROWTH = CONNECTIONS * (64 << 10) + 2 * MAX_BUFFERED + (64 << 20)
GIGABYTE = 1 << 30
_DECLARED = f"{HEAD}Content-Length: {{}}\r\n\r\n"


@pytest.fixture(scope="module")
def target(models: Path, short: Path) -> Iterator[Address]:
    """A server with the limits that it has when nobody says otherwise, except for small bodies and short deadlines."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 12_000:
        pytest.skip(f"needs 12000 descriptors for its clients, and may have {hard}")
    tcp, unix = listen(), listen(str(short / "f.sock"))
    limits = ["--max-body", str(MAX_BODY), "--header-timeout", "3", "--request-timeout", "15", "--soak", "600"]
    try:
        # What systemd gives a service; the server has to raise it.
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
        server = start(short / "f", models / "echo", [tcp, unix], limits)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000) if hard > 0 else 20_000, hard))
        server.wait_for("READY=1")
        with httpx.Client(base_url=url(tcp), timeout=PATIENCE) as client:
            yield Address(client, unix.getsockname(), server)
    finally:
        server.end()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for listener in (tcp, unix, server.notifications):
            listener.close()


class Flood:
    """Others go on being served: none of their requests is lost, and the server's memory stays within its limits."""

    def __init__(self, target: Address, what: str) -> None:
        """Watches `target` during the flood that `what` describes."""
        self._target, self._what = target, what
        self.address = (target.client.base_url.host, int(target.client.base_url.port or 0))
        self.outcome: Counter[str] = Counter()
        self._load = Load(str(target.client.base_url), target.unix)

    def __enter__(self) -> Flood:
        """The others begin."""
        self._memory = Memory(self._target.process)
        self._load.__enter__()
        self._load.wait_for_more(RELEASE)
        self._served = self._load.answers[RELEASE]
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """The others are still served after it, and the figures are printed."""
        try:
            if kind is None:
                self._load.wait_for_more(RELEASE)
        finally:
            self._load.__exit__()
        served = self._load.answers[RELEASE] - self._served
        grown = self._memory.grown()
        print(
            f"\nflood: {self._what}: {served} requests served to others, {len(self._load.failures)} lost; "
            f"{dict(self.outcome)}; memory +{grown >> 20} MiB of {MOST_GROWTH >> 20}"
        )
        assert self._load.failures == []
        assert grown < MOST_GROWTH
        server = self._target.process
        server.hear()
        # In a soak, a flood must not look like a bad release.
        assert "errors=0" in [told for told in server.told if "errors=" in told][-1]

    def served(self) -> int:
        """How many requests of others were served since it began."""
        return self._load.answers[RELEASE] - self._served


def test_slowloris(target: Address) -> None:
    """2500 heads that never end, a few bytes at a time: all are closed."""
    head = b"GET /ping HTTP/1.1\r\nHost: x\r\n"
    with Flood(target, "2500 slow heads") as flood, connected(flood.address, 2500, head) as slow:
        act_until(
            lambda: count_closed(slow) == len(slow),
            lambda: [send(connection, b"X-Slow: 1\r\n") for connection in slow[::5]],
        )
        flood.outcome["closed by the server"] = count_closed(slow)


@pytest.mark.by_hand
def test_slow_heads_on_kept_connections(target: Address) -> None:
    """The deadline holds for a further request on a connection, too, from its first byte on."""
    with Flood(target, "300 slow second heads") as flood:
        whole = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"
        with connected(flood.address, 300, whole) as slow:
            for connection in slow:
                flood.outcome["answered once"] += b" 200 " in connection.recv(65536)
                send(connection, b"G")
            act_until(
                lambda: count_closed(slow) == len(slow),
                lambda: [send(connection, b"E") for connection in slow[::50]],
            )
            flood.outcome["closed by the server"] = count_closed(slow)
        assert flood.outcome["answered once"] == 300


def test_ten_thousand_idle_connections(target: Address) -> None:
    """They are all connected at once; those that were idle for the longest make room for the others."""
    with Flood(target, "10000 idle connections") as flood, connected(flood.address, 10_000) as idle:
        before = flood.served()
        wait_until(lambda: flood.served() > before + 100, "others are served while they are connected")
        flood.outcome["closed by the server"] = count_closed(idle)
        descriptors = len(list(Path(f"/proc/{target.process.process.pid}/fd").iterdir()))
        flood.outcome["descriptors of the server"] = descriptors
        assert count_closed(idle) >= 10_000 - CONNECTIONS
        assert descriptors < CONNECTIONS + 400


@pytest.mark.by_hand
def test_thousands_of_bodies_that_do_not_come(target: Address) -> None:
    """A head is cheap, too: the slowest bodies make room, and time is up for all of them."""
    # More than is sent while others are served: bodies that became complete would be a flood of requests.
    head = _DECLARED.format(MAX_BODY).encode() + b"--b"
    with Flood(target, "3000 slow bodies") as flood, connected(flood.address, 3000, head) as slow:
        before = flood.served()
        act_until(
            lambda: flood.served() > before + 100,
            lambda: [send(connection, b"-") for connection in slow[::10]],
        )
        flood.outcome["closed by the server"] = count_closed(slow)
        assert count_closed(slow) >= 3000 - CONNECTIONS


@pytest.mark.by_hand
def test_a_gigabyte_that_says_so(target: Address) -> None:
    """Refused by its head."""
    with Flood(target, "100 x 1 GB declared") as flood:
        with connected(flood.address, 100, _DECLARED.format(GIGABYTE).encode()) as greedy:
            for connection in greedy:
                flood.outcome[connection.recv(65536).split(b" ")[1].decode()] += 1
        assert flood.outcome == {"413": 100}


@pytest.mark.exhaustive
def test_a_gigabyte_in_chunks(target: Address) -> None:
    """Refused when it passes the limit; what the client sends on is thrown away, and then not even that."""
    begun = b'--b\r\nContent-Disposition: form-data; name="x"; filename="x"\r\n\r\n'
    piece = b"%x\r\n%s\r\n" % (1 << 20, bytes(1 << 20))

    def flood_with_chunks(address: tuple[str, int]) -> tuple[str, int]:
        with connected(address, 1, f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode()) as (connection,):
            send(connection, b"%x\r\n%s\r\n" % (len(begun), begun))
            pieces = 0
            while pieces < GIGABYTE >> 20 and send(connection, piece):
                pieces += 1
            return read_all(connection).split(b" ")[1].decode(), pieces

    with Flood(target, "4 x 1 GB chunked") as flood, ThreadPoolExecutor(4) as pool:
        for status, pieces in pool.map(flood_with_chunks, [flood.address] * 4):
            flood.outcome[status] += 1
            flood.outcome["MiB sent"] += pieces
        assert flood.outcome["413"] == 4


def test_bodies_that_fill_the_memory_for_bodies_and_stop(target: Address) -> None:
    """Forty times almost the largest body, never finished: the largest give way to the others, who are small."""
    with Flood(target, "40 x the largest body, less a byte") as flood:
        with connected(flood.address, 40, _DECLARED.format(MAX_BODY).encode()) as greedy:
            body = bytes(MAX_BODY - 1)
            sending = [threading.Thread(target=send, args=(connection, body)) for connection in greedy]
            for thread in sending:
                thread.start()
            before = flood.served()
            wait_until(lambda: flood.served() > before + 200, "others are served")
            for thread in sending:
                thread.join(PATIENCE)
            for connection in greedy:
                connection.settimeout(PATIENCE)
                head = connection.recv(65536)
                flood.outcome[head.split(b" ")[1].decode() if head else "closed"] += 1
                assert b" 503 " not in head or b"retry-after: 1" in head
        assert flood.outcome["503"] >= 40 - MAX_BUFFERED // MAX_BODY
        assert set(flood.outcome) <= {"503", "408"}


@pytest.mark.exhaustive
def test_zip_bombs(target: Address) -> None:
    """Nothing is decompressed."""
    bomb = gzip.compress(bytes(256 << 20), 1)
    with Flood(target, f"50 x 256 MB in {len(bomb) >> 10} KiB") as flood:
        for index in range(50):
            path, form = (("/predict", FORM), ("/invocations", "application/json"))[index % 2]
            headers = {"content-encoding": ("gzip", "deflate", "br", "gzip, gzip")[index % 4], "content-type": form}
            answer = target.client.post(path, content=bomb, headers=headers)
            assert answer.json()["message"].startswith("cannot read the request: it is encoded as ")
            flood.outcome[str(answer.status_code)] += 1
        assert flood.outcome == {"415": 50}


@pytest.mark.exhaustive
def test_bad_multipart_and_bad_json_by_the_hundred(target: Address) -> None:
    """Each is refused, in a thread of the model; nobody waits for it."""
    lookalikes = b"--b\r\n" + b"\r\n--" * (MAX_BODY // 8)
    deep = b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    with Flood(target, "bad multipart and JSON") as flood:
        for _ in range(10):
            for path, content_type, body in (
                ("/predict", FORM, lookalikes),
                ("/predict", FORM, b"--b\r\n" * 100_000),
                ("/predict", FORM, b"--b\r\nX: " + bytes(1 << 20)),
                ("/invocations", "application/json", deep),
                ("/invocations", "application/json", b"{" * 1_000_000),
            ):
                answer = target.client.post(path, content=body, headers={"content-type": content_type})
                flood.outcome[str(answer.status_code)] += 1
        assert flood.outcome == {"400": 50}


@pytest.mark.by_hand
def test_clients_that_do_not_read_their_answers(target: Address) -> None:
    """Answers that nobody takes are given up."""
    with Flood(target, "5 x 5000 requests whose answers nobody reads") as flood:
        many = b"GET /docs HTTP/1.1\r\nHost: x\r\n\r\n" * 5000
        connections = [socket.socket() for _ in range(5)]
        try:
            for connection in connections:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                connection.connect(flood.address)
                connection.setblocking(False)
                connection.send(many)
            wait_until(lambda: count_closed(connections) == 5, "they are given up")
            flood.outcome["closed by the server"] = count_closed(connections)
        finally:
            for connection in connections:
                connection.close()


@pytest.mark.exhaustive
def test_a_newcomer_is_sent_away_when_everybody_is_being_answered(
    models: Path, tmp_path: Path, processes: list[ServerProcess]
) -> None:
    """503 with Retry-After; not one of those that are being answered is lost."""
    with listen() as tcp:
        server = start(tmp_path / "s", models / "echo", [tcp], ["--max-connections", "4", "--soak", "600"])
        processes.append(server)
        server.wait_for("READY=1")
        address = tcp.getsockname()
        with ThreadPoolExecutor(4) as pool:
            under_way = [pool.submit(_predict, url(tcp), tmp_path / f"go{index}") for index in range(4)]
            for index in range(4):
                wait_until((tmp_path / f"go{index}.begun").exists, "the prediction is under way")
            for _ in range(3):
                answer = ask(address, b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
                assert answer.startswith(b"HTTP/1.1 503 ")
                for header in (b"retry-after: 1\r\n", b"connection: close\r\n", b"model-release: echo@1.0badcafe\r\n"):
                    assert header in answer
            for index in range(4):
                (tmp_path / f"go{index}").touch()
            assert [request.result(PATIENCE).status_code for request in under_way] == [200] * 4
        assert httpx.get(f"{url(tcp)}/ping", timeout=PATIENCE).status_code == 200
        server.wait_for("; requests=4 errors=0")


@pytest.mark.exhaustive
def test_requests_do_not_queue_for_the_model_without_end(
    models: Path, tmp_path: Path, processes: list[ServerProcess]
) -> None:
    """As many as there are threads run, as many as may wait do; who is refused is not held against the release."""
    threads = min(32, (os.cpu_count() or 1) + 4)
    with listen() as tcp:
        server = start(tmp_path / "s", models / "echo", [tcp], ["--max-waiting", "3", "--soak", "600"])
        processes.append(server)
        server.wait_for("READY=1")
        with ThreadPoolExecutor(threads + 8) as pool:
            asked = [pool.submit(_predict, url(tcp), tmp_path / "go") for _ in range(threads + 8)]
            wait_until(lambda: sum(request.done() for request in asked) == 5, "those that find no place are refused")
            for refused in (request.result() for request in asked if request.done()):
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
                assert refused.json()["message"].startswith("cannot answer: too many requests wait for the model; ")
            (tmp_path / "go").touch()
            statuses = Counter(request.result(PATIENCE).status_code for request in asked)
        print(f"\n{threads} threads, 3 may wait: {dict(statuses)}")
        assert statuses == {200: threads + 3, 503: 5}
        server.wait_for(f"requests={threads + 3} errors=0")


def test_only_peers_are_spoken_to(models: Path, tmp_path: Path, processes: list[ServerProcess]) -> None:
    """Anybody else's connection is closed unread; a unix socket is its own guard."""
    with listen() as tcp, listen(str(tmp_path / "u")) as unix:
        server = start(tmp_path / "s", models / "echo", [tcp, unix], ["--peers", "10.0.0.0/8", "--peers", "127.0.0.2"])
        processes.append(server)
        server.wait_for("READY=1")
        request = b"GET /ping HTTP/1.0\r\n\r\n"
        assert ask(str(tmp_path / "u"), request).startswith(b"HTTP/1.1 200 ")
        for source, answered in (("127.0.0.1", False), ("127.0.0.2", True), ("127.0.0.3", False)):
            with socket.create_connection(tcp.getsockname(), PATIENCE, (source, 0)) as connection:
                send(connection, request)
                assert bool(read_all(connection)) == answered


@pytest.mark.by_hand
def test_a_server_without_descriptors_still_takes_connections(
    models: Path, tmp_path: Path, processes: list[ServerProcess]
) -> None:
    """As when the model itself has opened too much: idle connections make room, and nobody waits for a second."""
    with listen() as tcp:
        server = start(tmp_path / "s", models / "echo", [tcp])
        processes.append(server)
        server.wait_for("READY=1")
        address = tcp.getsockname()
        assert ask(address, b"GET /ping HTTP/1.0\r\n\r\n")
        numbers = [int(entry.name) for entry in Path(f"/proc/{server.process.pid}/fd").iterdir()]
        _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (max(numbers) + 20, hard))
        answered = 0
        with connected(address, 200):
            for _ in range(100):
                answered += ask(address, b"GET /ping HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 ")
        print(f"\n200 idle connections for 20 descriptors: {answered} of 100 requests answered")
        assert answered == 100
        assert "out of system resource" not in server.printed()


def _predict(base: str, go: Path) -> httpx.Response:
    files = {"metadata": (None, json.dumps({"wait_for": str(go)}))}
    return httpx.post(f"{base}/predict", files=files, timeout=PATIENCE)
