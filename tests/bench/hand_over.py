"""What clients notice of a hand-over under full load: lost requests, and the latency that it adds."""

import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench import models
from tests.bench.figures import OURS, Figure, Goal
from tests.bench.load import Load, ask
from tests.modelserver.process import ServerProcess, listen, start, url

LOST = "requests lost in a hand-over under full load, 8 connections"
ADDED = "99.9th percentile in a run of {:.0f} s with a hand-over, beyond a run without, 8 connections"
SECONDS = 10.0
GOALS = (Goal(LOST, 0, is_lowest=False), Goal(ADDED.format(SECONDS), 100.0, is_lowest=False))


def figures(rounds: int) -> list[Figure]:
    """Hand over in the middle of a load, in turns with a load that nothing disturbs."""
    model = models.saved() / "table"
    lost, added = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as directory, listen() as listener:
            place = Path(directory)
            with _serving(place / "old", model, listener) as old:
                undisturbed = _loaded(url(listener))
                disturbed = _handed_over(old, place / "new", model, listener)
        lost.append(float(disturbed.bad))
        added.append(disturbed.p999 - undisturbed.p999)
    return [Figure(LOST, OURS, "", tuple(lost)), Figure(ADDED.format(SECONDS), OURS, "ms", tuple(added))]


def _loaded(address: str) -> Load:
    return ask(f"{address}/invocations", models.split(1), models.JSON, 8, SECONDS)


def _handed_over(old: ServerProcess, place: Path, model: Path, listener: socket.socket) -> Load:
    """A load during which a new server takes over, started beside the old one, which then leaves."""
    found: list[Load] = []
    asking = threading.Thread(target=lambda: found.append(_loaded(url(listener))))
    asking.start()
    with _serving(place, model, listener):
        old.send(signal.SIGUSR1, "standing by")
        old.end()
        asking.join()
    return found[0]


@contextmanager
def _serving(place: Path, model: Path, listener: socket.socket) -> Iterator[ServerProcess]:
    server = start(place, model, [listener])
    try:
        server.wait_for("READY=1")
        yield server
    finally:
        if server.process.poll() is None:
            server.process.terminate()
            try:
                server.process.wait(30)
            except subprocess.TimeoutExpired:
                server.process.kill()
