"""From the start to the first answer, and the memory of one and of many models."""

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.bench import models
from tests.bench.figures import OURS, Figure, Goal
from tests.bench.subjects import MLFLOW, MLSERVER, OWN, Subject, memory, started, wait_for_answer

START = "start to first answer, warm"
MEMORY = "memory of each model (PSS), {} served"
LOADING = "a Python that has started imports MLflow and loads the model"
GOALS = (
    Goal(START, 0.5, is_lowest=False, peer=MLFLOW.name),
    Goal(MEMORY.format(10), 60.0, is_lowest=False),
    Goal(MEMORY.format(50), 60.0, is_lowest=False),
)
_PORT = 24300


def figures(rounds: int) -> list[Figure]:
    """Start each server anew in every round; then ten and fifty of ours."""
    model = models.saved() / "table"
    seconds: dict[str, list[float]] = {}
    sizes: dict[str, list[float]] = {}
    loading = []
    for number in range(rounds + 1):
        took = models.seconds_to_load(model)
        if number:
            loading.append(took)
        for subject in (OWN, MLFLOW, MLSERVER):
            found, size = _once(subject, model)
            if number:
                seconds.setdefault(subject.name, []).append(found)
                sizes.setdefault(subject.name, []).append(size)
    return [
        *(Figure(START, name, "s", tuple(samples)) for name, samples in seconds.items()),
        Figure(START, LOADING, "s", tuple(loading), "what any server of this model has to do"),
        *(Figure(MEMORY.format(1), name, "MB", tuple(samples)) for name, samples in sizes.items()),
        *(Figure(MEMORY.format(count), OURS, "MB", (_many(model, count),)) for count in (10, 50)),
    ]


def _once(subject: Subject, model: Path) -> tuple[float, float]:
    """Seconds to the first answer of a server, and its MB after that."""
    with tempfile.TemporaryDirectory() as directory:
        began = time.monotonic()
        with started(subject, Path(directory), model, _PORT) as process:
            answered = wait_for_answer(process, _PORT, models.split(1), models.JSON)
            return answered - began, memory(process)


def _many(model: Path, count: int) -> float:
    """MB of each of so many servers of ours."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        processes = []
        for port in range(_PORT, _PORT + count):
            process = stack.enter_context(started(OWN, Path(directory), model, port))
            wait_for_answer(process, port, models.split(1), models.JSON)
            processes.append(process)
        return sum(map(memory, processes)) / count
