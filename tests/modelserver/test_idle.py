"""A server that nobody needs leaves, and whoever asks then is answered by the next one."""

from __future__ import annotations

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx

from modelserver.systemd.idle import IdleTimer
from tests.modelserver.process import PATIENCE, ServerProcess, listen, start, url, wait_until

LEAVES_SOON = ["--idle-timeout", "1"]


def test_requests_that_come_while_it_leaves_are_answered_by_the_next_server(
    models: Path, tmp_path: Path, processes: list[ServerProcess]
) -> None:
    """It leaves with status 0, and both of its sockets go on to take connections."""
    with ExitStack() as stack:
        tcp = stack.enter_context(listen())
        unix = stack.enter_context(listen(str(tmp_path / "sock")))
        pool = stack.enter_context(ThreadPoolExecutor(2))
        clients = [
            stack.enter_context(httpx.Client(base_url=url(tcp), transport=transport, timeout=PATIENCE))
            for transport in (httpx.HTTPTransport(), httpx.HTTPTransport(uds=unix.getsockname()))
        ]
        first = start(tmp_path / "1", models / "echo", [tcp, unix], LEAVES_SOON)
        processes.append(first)
        first.wait_for("READY=1")
        leaving = first.wait_for("STOPPING=1")
        waiting = [pool.submit(client.get, "/ping") for client in clients]
        assert leaving.startswith("STOPPING=1\nSTATUS=idle for ")
        assert leaving.endswith(" s, the next request starts it again")
        assert first.ended() == 0
        assert not any(answer.done() for answer in waiting)
        second = start(tmp_path / "2", models / "echo", [tcp, unix], release="2.0badcafe")
        processes.append(second)
        for answer in waiting:
            assert answer.result(PATIENCE).headers["model-release"] == "echo@2.0badcafe"
        assert second.end() == 0


def test_a_server_is_not_idle_while_a_request_is_under_way_or_in_standby(
    models: Path, tmp_path: Path, processes: list[ServerProcess]
) -> None:
    """However long either takes; afterwards it is."""
    go = tmp_path / "go"
    with listen() as tcp, ThreadPoolExecutor(1) as pool:
        server = start(tmp_path / "s", models / "echo", [tcp], LEAVES_SOON)
        processes.append(server)
        server.wait_for("READY=1")
        metadata = json.dumps({"wait_for": str(go)})
        under_way = pool.submit(
            httpx.post, f"{url(tcp)}/predict", files={"metadata": (None, metadata)}, timeout=PATIENCE
        )
        wait_until((tmp_path / "go.begun").exists, "the prediction is under way")
        assert not server.listen_to_it(2.0)
        server.send(signal.SIGUSR1, "STATUS=standing by")
        go.touch()
        assert under_way.result(PATIENCE).status_code == 200
        assert not server.listen_to_it(2.0)
        server.send(signal.SIGUSR2, "STATUS=answering")
        server.wait_for("STOPPING=1\nSTATUS=idle for ")
        assert server.ended() == 0


def test_the_idle_time_begins_anew_with_every_request_and_does_not_end_in_the_soak() -> None:
    """Nor does it ever end when it is not limited."""
    timer = IdleTimer(timeout=30, soak=100)
    timer.start(1000.0)
    assert not timer.has_expired(1099.9)
    assert timer.has_expired(1100.0)
    timer.reset(1100.0)
    assert not timer.has_expired(1129.9)
    assert timer.has_expired(1130.0)
    assert timer.seconds(1130.9) == 30
    for_ever = IdleTimer(timeout=0, soak=0)
    for_ever.start(0.0)
    assert not for_ever.has_expired(1e9)
