"""What a client alone can cause never counts against a release: neither its odd bodies, nor how it sends them."""

# ruff: noqa: T201 - the figures are reported

from __future__ import annotations

import contextlib
import re
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import httpx
import pytest

from tests.modelserver.model_kinds import KINDS, RIGHT, TAKES_FILES, save
from tests.modelserver.odd_requests import Sent, large, odd
from tests.modelserver.process import PATIENCE, ServerProcess, listen, start, url

MAX_BODY = 900_000
# What is usually run: each of the places where a request is read is in one of them.
USUAL = ("columns", "one string column", "pydantic")
FEW, MANY = 130, 250


class Server:
    """One server of a model that never fails."""

    def __init__(self, process: ServerProcess, listener: socket.socket, client: httpx.Client) -> None:
        self.process = process
        self.address: tuple[str, int] = listener.getsockname()
        self.client = client

    def counters(self) -> tuple[int, int]:
        """Requests and errors that it has counted by now; standby is told at once."""
        line = self.process.send(signal.SIGUSR1, "standing by as")
        self.process.send(signal.SIGUSR2, "answering as")
        found = re.search(r"requests=(\d+) errors=(\d+)", line)
        assert found is not None
        return int(found[1]), int(found[2])


@contextlib.contextmanager
def serving(model: Path, directory: Path, *arguments: str) -> Iterator[Server]:
    """`model`, in its soak."""
    with listen() as tcp:
        process = start(directory, model, [tcp], ["--soak", "600", "--max-body", str(MAX_BODY), *arguments])
        try:
            process.wait_for("READY=1")
            with httpx.Client(base_url=url(tcp), timeout=PATIENCE) as client:
                yield Server(process, tcp, client)
        finally:
            process.process.kill()
            process.process.wait()
            process.notifications.close()


def _cut(server: Server, sent: Sent, random: Random) -> None:
    """Sends some of it and goes away; or all of it, and does not wait for the answer."""
    head = f"POST {sent.path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(sent.body)}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in sent.headers.items())
    whole = head.encode("latin-1") + b"\r\n" + sent.body
    with socket.create_connection(server.address, PATIENCE) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(whole[: random.choice((len(whole), random.randrange(len(whole))))])


def _answered(server: Server, sent: Sent) -> int:
    """The status of an answer in which nobody but the client was to blame, if anybody."""
    headers = [(name.encode(), value.encode("latin-1")) for name, value in sent.headers.items()]
    answer = server.client.post(sent.path, content=sent.body, headers=headers)
    allowed = answer.is_success or answer.is_client_error or answer.status_code == 501
    assert allowed, f"{sent}: {answer.status_code} {answer.text}"
    assert answer.headers["content-type"] == "application/json", str(sent)
    assert answer.headers["model-release"] == "echo@1.0badcafe"
    if not answer.is_success:
        assert {"error_code", "message"} <= set(answer.json()), f"{sent}: {answer.text}"
    return answer.status_code


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        (kind, FEW) if kind in USUAL else pytest.param(kind, MANY, marks=pytest.mark.exhaustive, id=kind)
        for kind in KINDS
    ],
)
def test_no_request_counts_against_a_model_that_does_not_fail(kind: str, count: int, tmp_path: Path) -> None:
    """Odd bodies, media types and encodings, junk, cut connections: 2xx, 4xx or 501 as JSON, and no error counted."""
    random = Random(f"{kind} {count}")  # noqa: S311 - repeatable, not secret
    statuses: Counter[int] = Counter()
    with serving(save(kind, tmp_path / "m"), tmp_path / "s") as server:
        assert server.client.post("/invocations", json=RIGHT[kind]).is_success
        for metadata in ("{}", '{"age": 1.0, "spo2": 0.5}', '{"c": "x"}', '{"a": [1.0], "b": 1}'):
            answer = server.client.post("/predict", files={"metadata": (None, metadata), "frase": b"x"})
            assert answer.status_code == (200 if kind == TAKES_FILES else 501), answer.text
        for number in range(count):
            if number % 50 == 0:
                server.process.hear()  # a service manager reads, too
            sent = odd(random, RIGHT[kind])
            if random.random() < 0.05:
                _cut(server, sent, random)
                continue
            statuses[_answered(server, sent)] += 1
        for _ in range(count // 60):
            statuses[_answered(server, large(random))] += 1
        requests, errors = server.counters()
        printed = server.process.printed()
    assert requests >= statuses.total()
    assert errors == 0, printed
    assert statuses[400] + statuses[415] > count // 3
    assert len(printed.splitlines()) < 60, printed  # the journal is not for what clients get wrong
    print(f"\nodd requests to {kind}: {dict(statuses)}")
