"""A release is replaced without losing a request, and what is under way is finished."""

from __future__ import annotations

import json
import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.modelserver.hostile_clients import read_all
from tests.modelserver.load import Load
from tests.modelserver.process import PATIENCE, ServerProcess, listen, start, url, wait_until

RELEASE = "echo@1.0badcafe"
ENDED = "cannot answer: this server ends before the answer is there; try again"


def test_releases_are_swapped_under_load_without_losing_a_request(
    models: Path, tmp_path: Path, processes: list[ServerProcess]
) -> None:
    """Three releases take over one after the other on the same two listening sockets."""
    with ExitStack() as stack:
        tcp = stack.enter_context(listen())
        unix = stack.enter_context(listen(str(tmp_path / "sock")))

        def started(number: int) -> ServerProcess:
            server = start(tmp_path / str(number), models / "echo", [tcp, unix], release=f"{number}.0badcafe")
            processes.append(server)
            return server

        serving = started(1)
        serving.wait_for("READY=1")
        load = stack.enter_context(Load(url(tcp), str(tmp_path / "sock")))
        for number in (2, 3):
            candidate = started(number)
            candidate.wait_for("READY=1")
            assert serving.end() == 0
            assert not os.get_blocking(tcp.fileno()), "O_NONBLOCK is shared: nobody may clear it"
            load.wait_for_more(f"echo@{number}.0badcafe")
            serving = candidate
    assert load.failures == []
    assert set(load.answers) == {"echo@1.0badcafe", "echo@2.0badcafe", "echo@3.0badcafe"}
    assert serving.end() == 0


def test_requests_under_way_are_finished_and_idle_connections_told_to_close(
    models: Path, tmp_path: Path, processes: list[ServerProcess]
) -> None:
    """After SIGTERM: no new connection is taken, a kept one is answered with `Connection: close`, work is finished."""
    go = tmp_path / "go"
    with listen() as tcp, httpx.Client(base_url=url(tcp), timeout=PATIENCE) as client, ThreadPoolExecutor(1) as pool:
        server = start(tmp_path / "s", models / "echo", [tcp], ["--drain-grace", "60"])
        processes.append(server)
        server.wait_for("READY=1")
        assert "connection" not in client.get("/ping").headers
        metadata = json.dumps({"wait_for": str(go)})
        with httpx.Client(base_url=url(tcp), timeout=PATIENCE) as other:
            under_way = pool.submit(other.post, "/predict", files={"metadata": (None, metadata)})
            wait_until((tmp_path / "go.begun").exists, "the prediction is under way")
            server.process.send_signal(signal.SIGTERM)
            server.wait_for("STOPPING=1")
            assert client.get("/ping").headers["connection"] == "close"
            with pytest.raises(httpx.ReadTimeout):
                httpx.get(f"{url(tcp)}/ping", timeout=0.5)
            go.touch()
            answer = under_way.result(PATIENCE)
        assert answer.status_code == 200
        assert answer.headers["connection"] == "close"
        assert server.ended() == 0


def test_a_request_that_takes_too_long_is_answered_with_mlflow_s_status(
    models: Path, tmp_path: Path, processes: list[ServerProcess]
) -> None:
    """504 after the time limit; others are answered on, and the stuck prediction does not hold the process."""
    with listen() as tcp:
        server = start(tmp_path / "s", models / "echo", [tcp], ["--request-timeout", "3", "--soak", "600"])
        processes.append(server)
        server.wait_for("READY=1")
        metadata = json.dumps({"wait_for": str(tmp_path / "go")})
        answer = httpx.post(f"{url(tcp)}/predict", files={"metadata": (None, metadata)}, timeout=PATIENCE)
        assert answer.status_code == 504
        assert answer.json() == {
            "error_code": "DEADLINE_EXCEEDED",
            "message": "Request processing time exceeded limit",
        }
        assert httpx.get(f"{url(tcp)}/ping", timeout=PATIENCE).status_code == 200
        described = httpx.get(f"{url(tcp)}/openapi.json", timeout=PATIENCE).json()["paths"]
        assert all("504" in described[path]["post"]["responses"] for path in ("/predict", "/invocations"))
        server.wait_for("; requests=1 errors=1")
        assert server.end() == 0


def test_a_prediction_that_exceeds_the_limit_is_given_up(
    models: Path, tmp_path: Path, processes: list[ServerProcess]
) -> None:
    """A thread cannot be cancelled, but it holds neither client nor process: 503, and the exit is clean."""
    with listen() as tcp, ThreadPoolExecutor(1) as pool:
        server = _start_with_short_drain(tmp_path, models, tcp)
        processes.append(server)
        metadata = json.dumps({"wait_for": str(tmp_path / "go")})
        lost = pool.submit(httpx.post, f"{url(tcp)}/predict", files={"metadata": (None, metadata)}, timeout=PATIENCE)
        wait_until((tmp_path / "go.begun").exists, "the prediction is under way")
        assert server.end() == 0
        answer = lost.result(PATIENCE)
    assert answer.status_code == 503
    assert answer.json() == {"error_code": "TEMPORARILY_UNAVAILABLE", "message": ENDED}
    assert answer.headers["model-release"] == RELEASE
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["connection"] == "close"
    assert "given up" in server.printed()
    assert "Traceback" not in server.printed()


def test_a_body_that_still_arrives_at_the_limit_is_refused(
    models: Path, tmp_path: Path, processes: list[ServerProcess]
) -> None:
    """Its client waits for an answer as well."""
    with listen() as tcp, socket.create_connection(tcp.getsockname(), PATIENCE) as client:
        server = _start_with_short_drain(tmp_path, models, tcp)
        processes.append(server)
        client.sendall(b"POST /invocations HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n")
        assert client.recv(65536).startswith(b"HTTP/1.1 100 "), "the body is asked for, so the request is under way"
        assert server.end() == 0
        head, _, body = read_all(client).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"model-release: " + RELEASE.encode() in head
    assert json.loads(body) == {"error_code": "TEMPORARILY_UNAVAILABLE", "message": ENDED}
    assert "Traceback" not in server.printed()


def _start_with_short_drain(tmp_path: Path, models: Path, listener: socket.socket) -> ServerProcess:
    server = start(tmp_path / "s", models / "echo", [listener], ["--drain-grace", "0.1", "--drain-limit", "1"])
    server.wait_for("READY=1")
    return server
