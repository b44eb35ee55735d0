"""A step in a pod: what it tells systemd on a host is what the cluster keeps of it; tests/kubernetes has whole Jobs."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from reconciler.steps import in_job
from tests.unit.conftest import CHECKOUT

TELL = "from systemd import daemon; daemon.notify('STATUS={}')"


@pytest.fixture
def last_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The file in which the cluster looks for the last words of a container."""
    path = tmp_path / "termination-log"
    monkeypatch.setattr(in_job, "TERMINATION_LOG", path)
    return path


@pytest.mark.parametrize("status", [0, 1])
def test_the_last_status_and_the_exit_status_are_those_of_the_step(last_words: Path, status: int) -> None:
    """However many it told before."""
    program = f"{TELL.format('begins')}; {TELL.format('cannot fetch: x')}; raise SystemExit({status})"
    assert in_job._run([sys.executable, "-c", program]) == status
    assert last_words.read_text() == "cannot fetch: x\n"


def test_a_step_that_says_nothing_gets_a_sentence(last_words: Path) -> None:
    """Somebody has to know where to look."""
    assert in_job._run([sys.executable, "-c", "raise SystemExit(3)"]) == 3
    assert last_words.read_text() == "cannot tell why it ended with exit status 3; see kubectl logs\n"


def test_a_signal_reaches_the_step(tmp_path: Path) -> None:
    """Who ends the pod ends the step, which says so itself."""
    begun, words = tmp_path / "begun", tmp_path / "words"
    step = f"""
import pathlib, signal, sys
from systemd import daemon
signal.signal(signal.SIGTERM, lambda *_: (daemon.notify("STATUS=stopped"), sys.exit(75)))
pathlib.Path({str(begun)!r}).touch()
signal.pause()
"""
    around = f"""
import pathlib, sys
from reconciler.steps import in_job
in_job.TERMINATION_LOG = pathlib.Path({str(words)!r})
sys.exit(in_job._run([sys.executable, "-c", {step!r}]))
"""
    running = subprocess.Popen([sys.executable, "-c", around], cwd=CHECKOUT)
    while not begun.exists():
        assert running.poll() is None
    running.send_signal(signal.SIGTERM)
    assert running.wait(60) == 75
    assert words.read_text() == "stopped\n"


@pytest.fixture
def api_server(monkeypatch: pytest.MonkeyPatch) -> socket.socket:
    """What every pod can reach that no policy holds."""
    listener = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setitem(os.environ, "KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setitem(os.environ, "KUBERNETES_SERVICE_PORT", str(listener.getsockname()[1]))
    monkeypatch.setattr(in_job, "_PATIENCE", 0.0)
    return listener


def test_a_pod_that_reaches_somebody_serves_nothing(last_words: Path, api_server: socket.socket) -> None:
    """It says what to do."""
    with api_server:
        assert in_job.main(["network", "--otherwise", "cannot serve here: x"]) == 78
    assert last_words.read_text().startswith("cannot serve here: x; use a network plugin that does")


@pytest.mark.parametrize(
    ("answers", "status"),
    [
        ([TimeoutError, TimeoutError], 0),
        ([None, None, TimeoutError, TimeoutError], 0),
        ([TimeoutError, *[None] * 40], 78),
        ([*[ConnectionRefusedError] * 40], 0),
        ([None, *[ConnectionRefusedError] * 20, *[None] * 40], 78),
        ([*[ConnectionRefusedError] * 20, *[None] * 40], 78),
    ],
    ids=["held", "held after a while", "one lost", "refused by a policy", "a new start", "a start"],
)
def test_only_who_is_held_reaches_nobody(
    monkeypatch: pytest.MonkeyPatch, last_words: Path, answers: list[type[OSError] | None], status: int
) -> None:
    """One question without an answer is chance, and an API server that starts anew refuses for a while."""
    clock, left = [0.0], iter(answers)

    def connect(*_: object, **__: object) -> socket.socket:
        error = next(left)
        if error is not None:
            raise error
        return socket.socket()

    def sleep(seconds: float) -> None:
        clock[0] += seconds

    monkeypatch.setitem(os.environ, "KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setitem(os.environ, "KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.setattr(socket, "create_connection", connect)
    monkeypatch.setattr(in_job, "time", SimpleNamespace(monotonic=lambda: clock[0], sleep=sleep))
    assert in_job.main(["network", "--otherwise", "cannot serve here: x"]) == status
    assert last_words.exists()


def test_a_pod_that_reaches_nobody_may_serve(last_words: Path, api_server: socket.socket) -> None:
    """What refuses it for long is a policy."""
    api_server.close()
    assert in_job.main(["network", "--otherwise", "cannot serve here: x"]) == 0
    assert last_words.read_text() == "this pod reaches nobody\n"
