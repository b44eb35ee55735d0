"""A server under load for long leaves nothing in memory; some two minutes, so run by hand."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import infer_signature
from sklearn.linear_model import Ridge

from tests.modelserver.process import PATIENCE, ServerProcess, listen, start, url, wait_until

CLIENTS, ROUND, ROUNDS = 8, 2500, 4
BODY = b'{"dataframe_split": {"columns": ["a", "b"], "data": [[1.5, 2.5]]}}'
HEADERS = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An estimator with a signature of plain columns, the most frequent kind of model."""
    table = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [0.5, 1.0, 0.25]})
    target = np.array([1.0, 2.0, 3.0])
    directory = tmp_path_factory.mktemp("estimator") / "model"
    mlflow.sklearn.save_model(
        Ridge().fit(table, target),
        directory,
        signature=infer_signature(table, target),
        pip_requirements=["mlflow"],
        serialization_format="cloudpickle",
    )
    return directory


def held(server: ServerProcess) -> tuple[int, int, int]:
    """kB of its own memory, descriptors and threads of a server."""
    process = Path("/proc", str(server.process.pid))
    lines = (process / "smaps_rollup").read_text().splitlines()
    memory = next(int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))
    return memory, len([*(process / "fd").iterdir()]), len([*(process / "task").iterdir()])


@pytest.mark.by_hand
@pytest.mark.timeout(900)
@pytest.mark.parametrize("options", [(), ("--batch",)], ids=["each by itself", "together"])
def test_twenty_thousand_requests_leave_nothing_behind(tmp_path: Path, model: Path, options: tuple[str, ...]) -> None:
    """Good ones and refused ones, on connections that are kept and on new ones."""

    def ask(address: str) -> None:
        with httpx.Client(base_url=address, timeout=PATIENCE, trust_env=False) as client:
            for number in range(ROUND // CLIENTS):
                content = BODY if number % 10 else b"{"
                status = client.post("/invocations", content=content, headers=HEADERS).status_code
                assert status == (200 if number % 10 else 400)

    with listen() as listener:
        server = start(tmp_path / "server", model, [listener], options)
        try:
            server.wait_for("READY=1")
            found: list[tuple[int, int, int]] = []
            for _ in range(2 * ROUNDS):
                with ThreadPoolExecutor(CLIENTS) as pool:
                    list(pool.map(ask, [url(listener)] * CLIENTS))
                # Connections that clients have closed are gone after a moment.
                wait_until(lambda: not found or held(server)[1] <= found[0][1], "connections are closed")
                found.append(held(server))
        finally:
            server.end()
    warm, last = found[ROUNDS - 1], found[-1]
    assert last[0] - warm[0] < 2000, f"kB, descriptors and threads after each round: {found}"
    assert last[1:] <= warm[1:], found
