"""What a hundred hosts that poll cost a registry, with a cache in front of it and without."""

import tempfile
import time
from pathlib import Path

from reconciler.adapters.registry_mlflow import MlflowRegistry
from tests.balancers import cache
from tests.bench.figures import OURS, Figure, Goal
from tests.bench.registry import SELECTORS, registry, running_seconds

HOSTS, MODELS, INTERVAL = 100, 100, 10.0
MEASURED = 30.0
"""Seconds of each sample."""
ROW = f"processor time of the registry and what is in front of it, {HOSTS} hosts, {MODELS} models"
CACHED = "behind docs/fleet/registry-cache.conf"
GOALS: tuple[Goal, ...] = ()


def figures(rounds: int) -> list[Figure]:
    """Have so many readers ask a real MLflow server over SQLite, each at its own moment; a minute for each round."""
    with (
        registry(MODELS) as uri,
        tempfile.TemporaryDirectory() as place,
        cache(uri, Path(place)) as front,
    ):
        direct, cached = zip(*((share(uri), share(front)) for _ in range(rounds)), strict=True)
    remark = f"over {MEASURED:.0f} s, at the default interval"
    return [
        Figure(ROW, OURS, "% of a core", direct, remark),
        Figure(ROW, CACHED, "% of a core", cached, "a real nginx, whose own time is in it"),
    ]


def share(uri: str) -> float:
    """Poll as that many hosts; return what the servers took, in percent of a core."""
    readers = [MlflowRegistry(uri, 60) for _ in range(HOSTS)]
    for reader in readers:
        reader.read(SELECTORS)  # the first reading of a host may ask for more
    began, used = time.monotonic(), running_seconds()
    for number in range(round(MEASURED / INTERVAL * HOSTS)):
        # A host each tenth of a second: hosts do not poll in step.
        time.sleep(max(0.0, began + number * INTERVAL / HOSTS - time.monotonic()))
        readers[number % HOSTS].read(SELECTORS)
    return 100 * (running_seconds() - used) / (time.monotonic() - began)
