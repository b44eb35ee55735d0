"""SIGUSR1 puts a server into standby and SIGUSR2 brings it back, whenever they come, without losing a request."""

from __future__ import annotations

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.modelserver.conftest import variant
from tests.modelserver.load import Load
from tests.modelserver.process import PATIENCE, ServerProcess, listen, start, url, wait_until

ANSWERING = "STATUS=answering as echo@1.0badcafe; "
STANDING_BY = "STATUS=standing by as echo@1.0badcafe; "
V1, V2, V3 = (f"echo@{number}.0badcafe" for number in (1, 2, 3))


def test_a_server_hands_over_and_takes_back_under_load_without_losing_a_request(
    models: Path, tmp_path: Path, processes: list[ServerProcess]
) -> None:
    """One release stands by while another answers, twice; of one that is killed only what it had accepted is lost."""
    with ExitStack() as stack:
        tcp = stack.enter_context(listen())
        unix = stack.enter_context(listen(str(tmp_path / "sock")))

        def started(number: int) -> ServerProcess:
            server = start(tmp_path / str(number), models / "echo", [tcp, unix], release=f"{number}.0badcafe")
            processes.append(server)
            server.wait_for("READY=1")
            return server

        standby = started(1)
        load = stack.enter_context(Load(url(tcp), str(tmp_path / "sock")))

        candidate = started(2)
        standby.send(signal.SIGUSR1, STANDING_BY)
        load.wait_for_more(V2)
        answered_by_standby = load.answers[V1]
        load.wait_for_more(V2)
        assert load.answers[V1] == answered_by_standby
        standby.send(signal.SIGUSR2, ANSWERING)
        assert candidate.end() == 0
        load.wait_for_more(V1)
        assert load.failures == []

        candidate = started(3)
        standby.send(signal.SIGUSR1, STANDING_BY)
        load.wait_for_more(V3)
        candidate.process.kill()
        standby.send(signal.SIGUSR2, ANSWERING)
        load.wait_for_more(V1)
    assert len(load.failures) <= load.clients, load.failures
    assert set(load.answers) == {V1, V2, V3}
    assert standby.end() == 0


def test_signals_in_quick_succession_lose_no_request(
    models: Path, tmp_path: Path, processes: list[ServerProcess]
) -> None:
    """Also when one comes before the listeners of the one before are closed, or many at once."""
    with ExitStack() as stack:
        tcp = stack.enter_context(listen())
        unix = stack.enter_context(listen(str(tmp_path / "sock")))
        server = start(tmp_path / "s", models / "echo", [tcp, unix])
        processes.append(server)
        server.wait_for("READY=1")
        load = stack.enter_context(Load(url(tcp), str(tmp_path / "sock")))
        for _ in range(20):
            server.send(signal.SIGUSR1, STANDING_BY)
            server.send(signal.SIGUSR2, ANSWERING)
        load.wait_for_more(V1)
        for number in (*[signal.SIGUSR1, signal.SIGUSR2] * 200, *[signal.SIGUSR2, signal.SIGUSR1] * 200):
            server.process.send_signal(number)
        server.process.send_signal(signal.SIGUSR2)
        load.wait_for_more(V1)
    assert load.failures == []
    assert server.end() == 0


def test_a_signal_that_asks_for_what_is_already_so_changes_nothing(
    models: Path, tmp_path: Path, processes: list[ServerProcess]
) -> None:
    """However often it comes, there is one status line."""
    with listen() as tcp:
        server = start(tmp_path / "s", models / "echo", [tcp])
        processes.append(server)
        server.wait_for("READY=1")
        heard = server.hear()
        for number, line in ((signal.SIGUSR1, STANDING_BY), (signal.SIGUSR2, ANSWERING)):
            server.send(number, line)
            for _ in range(3):
                server.process.send_signal(number)
        assert server.end() == 0
    lines = (STANDING_BY, ANSWERING, "STOPPING=1\n")
    assert [told.startswith(line) for told, line in zip(server.told[heard:], lines, strict=True)] == [True] * 3


def test_a_standby_sends_its_connections_away_and_keeps_them_again_afterwards(
    models: Path, tmp_path: Path, processes: list[ServerProcess]
) -> None:
    """Work is finished, a kept connection is answered with `Connection: close`, a new one waits for who is next."""
    go = tmp_path / "go"
    with listen() as tcp, ExitStack() as stack:
        server = start(tmp_path / "s", models / "echo", [tcp])
        processes.append(server)
        server.wait_for("READY=1")
        kept, busy, new = (stack.enter_context(httpx.Client(base_url=url(tcp), timeout=PATIENCE)) for _ in range(3))
        pool = stack.enter_context(ThreadPoolExecutor(2))
        metadata = json.dumps({"wait_for": str(go)})
        under_way = pool.submit(busy.post, "/predict", files={"metadata": (None, metadata)})
        wait_until((tmp_path / "go.begun").exists, "the prediction is under way")
        assert "connection" not in kept.get("/ping").headers
        server.send(signal.SIGUSR1, STANDING_BY)
        assert kept.get("/ping").headers["connection"] == "close"
        waiting = pool.submit(new.get, "/ping")
        go.touch()
        finished = under_way.result(PATIENCE)
        assert (finished.status_code, finished.headers["connection"]) == (200, "close")
        assert not waiting.done()
        server.send(signal.SIGUSR2, f"{ANSWERING}loaded in ")
        for answer in (waiting.result(PATIENCE), new.get("/ping"), kept.get("/ping")):
            assert answer.status_code == 200
            assert "connection" not in answer.headers
        assert server.end() == 0


@pytest.mark.parametrize(
    ("signals", "line"),
    [([signal.SIGUSR1], STANDING_BY), ([signal.SIGUSR1, signal.SIGUSR2], ANSWERING)],
    ids=["stand by", "stand by, answer"],
)
def test_signals_before_ready_decide_as_what_it_gets_ready(
    signals: list[signal.Signals], line: str, models: Path, tmp_path: Path, processes: list[ServerProcess]
) -> None:
    """They are harmless from the first moment on, long before the model is loaded."""
    with listen() as tcp, ThreadPoolExecutor(1) as pool:
        server = start(tmp_path / "s", models / "echo", [tcp])
        processes.append(server)
        wait_until(lambda: server.catches(signal.SIGUSR1) and server.catches(signal.SIGUSR2), "the signals are caught")
        server.hear()
        assert not any("replaying" in told for told in server.told), "the model was loaded first"
        for number in signals:
            server.process.send_signal(number)
        answer = pool.submit(httpx.get, f"{url(tcp)}/ping", timeout=PATIENCE)
        ready = server.wait_for("READY=1")
        assert line in ready
        assert ready.endswith("; requests=0 errors=0")
        if line == STANDING_BY:
            assert not answer.done()
            server.send(signal.SIGUSR2, ANSWERING)
        assert answer.result(PATIENCE).status_code == 200
        assert server.end() == 0


def test_what_the_model_did_to_the_signals_does_not_matter(
    models: Path, tmp_path: Path, processes: list[ServerProcess]
) -> None:
    """Its code set other handlers, blocked the signals and started a thread."""
    code = (Path(__file__).with_name("echo_model.py")).read_text() + (
        "import threading\n"
        "signal.signal(signal.SIGUSR1, signal.SIG_DFL)\n"
        "signal.signal(signal.SIGUSR2, signal.SIG_IGN)\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGUSR2])\n"
        "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    with listen() as tcp:
        server = start(tmp_path / "s", variant(models / "echo", tmp_path / "m", {"echo_model.py": code}), [tcp])
        processes.append(server)
        server.wait_for("READY=1")
        server.send(signal.SIGUSR1, STANDING_BY)
        server.send(signal.SIGUSR2, ANSWERING)
        assert server.end() == 0


def test_a_standby_ends_on_sigterm_whatever_signals_still_come(
    models: Path, tmp_path: Path, processes: list[ServerProcess]
) -> None:
    """At once, as nobody is connected, and with status 0: no later signal brings it back or kills it."""
    with listen() as tcp:
        server = start(tmp_path / "s", models / "echo", [tcp], ["--drain-grace", "600"])
        processes.append(server)
        server.wait_for("READY=1")
        server.send(signal.SIGUSR1, STANDING_BY)
        server.process.send_signal(signal.SIGTERM)
        while server.process.poll() is None:
            server.process.send_signal(signal.SIGUSR2)
            server.process.send_signal(signal.SIGUSR1)
        assert server.ended() == 0
    assert server.told[-1].startswith("STOPPING=1\n")


def test_the_signals_are_ignored_while_draining(models: Path, tmp_path: Path, processes: list[ServerProcess]) -> None:
    """A server that leaves neither accepts again nor says that it stands by."""
    go = tmp_path / "go"
    with listen() as tcp, ThreadPoolExecutor(1) as pool:
        server = start(tmp_path / "s", models / "echo", [tcp])
        processes.append(server)
        server.wait_for("READY=1")
        metadata = json.dumps({"wait_for": str(go)})
        under_way = pool.submit(
            httpx.post, f"{url(tcp)}/predict", files={"metadata": (None, metadata)}, timeout=PATIENCE
        )
        wait_until((tmp_path / "go.begun").exists, "the prediction is under way")
        server.send(signal.SIGTERM, "STOPPING=1")
        server.process.send_signal(signal.SIGUSR1)
        server.process.send_signal(signal.SIGUSR2)
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{url(tcp)}/ping", timeout=0.5)
        go.touch()
        assert under_way.result(PATIENCE).status_code == 200
        assert server.ended() == 0
    assert server.told[-1].startswith("STOPPING=1\n")
