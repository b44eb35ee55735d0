"""Requests per second and latency for one row of JSON, at several numbers of connections."""

import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.bench import models
from tests.bench.figures import OURS, Figure, Goal
from tests.bench.load import Load, ask
from tests.bench.subjects import BATCHING, BENTOML, MLFLOW, MLSERVER, OWN, Subject, started, wait_for_answer

CONNECTIONS = (1, 8, 64)
SECONDS = 3.0
RATE, TAIL = "requests per second, one row of JSON, {}", "99th percentile, one row of JSON, {}"
BATCH_RATE = "requests per second, one row of JSON, {}, deploy.batch"
LONE = "median latency, one row of JSON, 1 connection"
OVERHEAD = "median latency beyond the model's own predict, one row of JSON, 1 connection"
_PORT = 24100


def _on(connections: int) -> str:
    return "1 connection" if connections == 1 else f"{connections} connections"


GOALS = (
    *(Goal(RATE.format(_on(count)), 4.0, is_lowest=True, peer=MLFLOW.name) for count in CONNECTIONS),
    *(Goal(TAIL.format(_on(count)), 1 / 3, is_lowest=False, peer=MLFLOW.name) for count in CONNECTIONS),
    Goal(BATCH_RATE.format(_on(8)), 10.0, is_lowest=True, peer=MLFLOW.name),
    Goal(BATCH_RATE.format(_on(64)), 40.0, is_lowest=True, peer=MLFLOW.name),
    Goal(OVERHEAD, 0.25, is_lowest=False),
)


def figures(rounds: int) -> list[Figure]:
    """Measure all servers side by side; each round asks one after the other."""
    model = models.saved() / "table"
    body, subjects = models.split(1), (OWN, BATCHING, MLFLOW, MLSERVER, BENTOML)
    found: dict[tuple[str, str, str], list[float]] = {}

    def note(row: str, name: str, unit: str, value: float) -> None:
        found.setdefault((row, name, unit), []).append(value)

    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        ports = all_started(stack, Path(directory), subjects, model, body)
        for number in range(rounds + 1):
            predict = models.milliseconds_of_predict(model)
            for connections in CONNECTIONS:
                for subject in subjects:
                    load = good(subject, ports[subject.name], body, models.JSON, connections)
                    if number == 0:  # it warms up
                        continue
                    if subject is not BATCHING:
                        note(RATE.format(_on(connections)), subject.name, "1/s", load.requests_per_second)
                        note(TAIL.format(_on(connections)), subject.name, "ms", load.p99)
                    if subject in (BATCHING, MLFLOW):
                        name = OURS if subject is BATCHING else subject.name
                        note(BATCH_RATE.format(_on(connections)), name, "1/s", load.requests_per_second)
                    if connections == 1:
                        note(LONE, subject.name, "ms", load.p50)
                    if connections == 1 and subject is OWN:
                        note(OVERHEAD, OURS, "ms", load.p50 - predict)
    return [Figure(row, name, unit, tuple(samples)) for (row, name, unit), samples in found.items()]


def all_started(
    stack: ExitStack,
    directory: Path,
    subjects: tuple[Subject, ...],
    model: Path,
    body: bytes,
    media_type: str = models.JSON,
) -> dict[str, int]:
    """Start servers one after the other; the port of each by its name."""
    ports = {}
    for at, subject in enumerate(subjects):
        port = ports[subject.name] = _PORT + at
        wait_for_answer(stack.enter_context(started(subject, directory, model, port)), port, body, media_type)
    return ports


def good(
    subject: Subject, port: int, body: bytes, media_type: str, connections: int, path: str = "/invocations"
) -> Load:
    """One run of wrk. Raises RuntimeError when an answer was bad: then its figures say nothing."""
    load = ask(f"http://127.0.0.1:{port}{path}", body, media_type, connections, SECONDS)
    if load.bad:
        raise RuntimeError(f"{subject.name} gave {load.bad} bad answers to {connections} connections")
    return load
