"""The watchdog is pinged by what answers requests, and by nothing else."""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from tests.modelserver.process import PATIENCE, ServerProcess, listen, start, url, wait_until

PING = "WATCHDOG=1"
WATCHED = {"WATCHDOG_USEC": "300000"}


def test_the_watchdog_is_pinged_from_ready_to_the_end(
    models: Path, tmp_path: Path, processes: list[ServerProcess]
) -> None:
    """While it answers, in standby, and while it finishes what is under way; what the model starts cannot do it."""
    go = tmp_path / "go"
    with listen() as tcp, ThreadPoolExecutor(1) as pool, httpx.Client(base_url=url(tcp), timeout=PATIENCE) as client:
        server = start(tmp_path / "s", models / "echo", [tcp], environment=WATCHED)
        processes.append(server)
        server.wait_for("READY=1")
        assert not [told for told in server.told if PING in told]
        server.wait_for(PING)
        around = client.post("/predict", files={"metadata": (None, '{"behave": "look around"}')})
        assert around.json()["output"] == [0, 0, 0]
        metadata = json.dumps({"wait_for": str(go)})
        under_way = pool.submit(client.post, "/predict", files={"metadata": (None, metadata)})
        wait_until((tmp_path / "go.begun").exists, "the prediction is under way")
        for number, line in ((signal.SIGUSR1, "STATUS=standing by"), (signal.SIGTERM, "STOPPING=1")):
            server.send(number, line)
            for _ in range(5):
                server.wait_for(PING, len(server.told))
        go.touch()
        assert under_way.result(PATIENCE).status_code == 200
        assert server.ended() == 0


def test_the_pings_stop_while_the_event_loop_stands_still(
    models: Path, tmp_path: Path, processes: list[ServerProcess]
) -> None:
    """Because a model holds the interpreter, or the main thread only: then other threads do run."""
    with listen() as tcp, ThreadPoolExecutor(1) as pool:
        server = start(tmp_path / "s", models / "echo", [tcp], environment=WATCHED)
        processes.append(server)
        server.wait_for("READY=1")
        for behave in ("hold the interpreter", "hold the main thread"):
            pipe = tmp_path / behave
            os.mkfifo(pipe)
            metadata = json.dumps({"behave": behave, "until": str(pipe)})
            answer = pool.submit(
                httpx.post, f"{url(tcp)}/predict", files={"metadata": (None, metadata)}, timeout=PATIENCE
            )
            with pipe.open("wb"):  # waits for the model to open it, which reads until it is closed here
                wait_until(lambda: not server.listen_to_it(1.0), "the pings stop")
                assert not server.listen_to_it(1.0)
                assert server.process.poll() is None
            server.wait_for(PING, len(server.told))
            assert answer.result(PATIENCE).status_code == 200
        assert server.end() == 0


def test_a_watchdog_of_another_process_is_not_pinged(
    models: Path, tmp_path: Path, processes: list[ServerProcess]
) -> None:
    """WATCHDOG_PID says whose it is."""
    with listen() as tcp:
        server = start(tmp_path / "s", models / "echo", [tcp], environment={**WATCHED, "WATCHDOG_PID": "1"})
        processes.append(server)
        server.wait_for("READY=1")
        assert server.end() == 0
    assert not [told for told in server.told if PING in told]
