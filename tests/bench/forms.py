"""What 1,000 rows come to in every form of request."""

import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.bench import models
from tests.bench.figures import Figure, Goal
from tests.bench.serving import all_started, good
from tests.bench.subjects import MLFLOW, OWN

MANY = 1000
FORM = "requests per second, 1,000 rows as {}, 1 connection"
FORMS = ("split", "split with an index", "records", "instances", "inputs", "CSV", "Parquet", "tensor")
GOALS = tuple(Goal(FORM.format(form), 1.0, is_lowest=True, peer=MLFLOW.name) for form in FORMS)


def figures(rounds: int) -> list[Figure]:
    """Ask ours and MLflow's server in turns, in one form after the other."""
    directory = models.saved()
    found: dict[tuple[str, str], list[float]] = {}
    subjects = (OWN, MLFLOW)
    for form, (model, body, media_type) in models.forms(MANY).items():
        with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
            ports = all_started(stack, Path(place), subjects, directory / model, body, media_type)
            for number in range(rounds + 1):
                for subject in subjects:
                    load = good(subject, ports[subject.name], body, media_type, 1)
                    if number:
                        found.setdefault((FORM.format(form), subject.name), []).append(load.requests_per_second)
    return [Figure(row, name, "1/s", tuple(samples)) for (row, name), samples in found.items()]
