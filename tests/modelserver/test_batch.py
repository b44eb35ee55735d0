"""With --batch, requests that wait are answered together, and each as if it had been alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import mlflow
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema

from tests.modelserver.process import PATIENCE, ServerProcess, listen, start, url

CLIENTS, REQUESTS = 12, 400
_MODEL = '''"""Doubles a number; raises on 13, refuses 14, and has nothing to say of less than one row each."""

import mlflow
from mlflow.pyfunc.model import PythonModel

calls = []


class Doubles(PythonModel):
    def predict(self, context, model_input):
        numbers = [float(number) for number in model_input["x"]]
        calls.append(len(numbers))
        if -1.0 in numbers:
            return [float(len(calls)), float(sum(calls))]
        if 13.0 in numbers:
            raise ValueError("thirteen")
        if 14.0 in numbers:
            raise mlflow.exceptions.MlflowException.invalid_parameter_value("fourteen")
        return [2 * number for number in numbers]


mlflow.models.set_model(Doubles())
'''


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose answers tell for whom they are."""
    directory = tmp_path_factory.mktemp("doubles")
    code = directory / "doubles.py"
    code.write_text(_MODEL)
    signature = ModelSignature(inputs=Schema([ColSpec("double", "x")]))
    mlflow.pyfunc.save_model(
        directory / "model", python_model=str(code), signature=signature, pip_requirements=["mlflow"]
    )
    return directory / "model"


@pytest.fixture
def batching(tmp_path: Path, model: Path) -> Iterator[tuple[str, ServerProcess]]:
    """Where a server with --batch listens."""
    with listen() as listener:
        server = start(tmp_path / "server", model, [listener], ["--batch", "--soak", "600"])
        try:
            server.wait_for("READY=1")
            yield url(listener), server
        finally:
            server.end()


def body(*numbers: Any) -> bytes:
    """A table with these rows."""
    return json.dumps({"dataframe_records": [{"x": number} for number in numbers]}).encode()


def test_each_gets_its_own_answer_and_nobody_the_error_of_another(batching: tuple[str, ServerProcess]) -> None:
    """Right ones beside ones that raise, are refused, cannot be read, and have several rows."""
    address, server = batching
    found: list[tuple[int, int, Any]] = []
    lock = threading.Lock()

    def client(first: int) -> None:
        with httpx.Client(base_url=address, timeout=PATIENCE, trust_env=False) as http:
            for number in range(first, REQUESTS, CLIENTS):
                rows = [100.0 + number, 100.5 + number]
                sent = [b"{", body(13.0), body(14.0), body("x"), body(*rows), *[body(rows[0])] * 5]
                content = sent[number % len(sent)]
                answer = http.post("/invocations", content=content, headers={"content-type": "application/json"})
                with lock:
                    found.append((number, answer.status_code, answer.json()))

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client, range(CLIENTS)))
    assert len(found) == REQUESTS
    for number, status, answer in found:
        kind = number % 10
        if kind in (0, 3):
            assert (status, answer["error_code"]) == (400, "BAD_REQUEST"), answer
        elif kind == 1:
            assert status == 400, answer  # MLflow's status for a model that raises
            assert "unexpected error" in answer["message"]
        elif kind == 2:
            assert (status, "fourteen" in answer["message"]) == (400, True), answer
        else:
            rows = [100.0 + number, 100.5 + number] if kind == 4 else [100.0 + number]
            assert (status, answer) == (200, {"predictions": [2.0 * row for row in rows]})
    # Only what raised is the release's own error, and each such request is counted once.
    server.wait_for(f"requests={REQUESTS} errors={REQUESTS // 10}")
    with httpx.Client(base_url=address, timeout=PATIENCE, trust_env=False) as http:
        told = http.post("/invocations", content=body(-1.0), headers={"content-type": "application/json"})
    calls, rows_seen = told.json()["predictions"]
    assert rows_seen > calls, "nothing was answered together"


def test_a_model_without_plain_columns_serves_as_before(tmp_path: Path, models: Path) -> None:
    """The journal says why nothing is answered together."""
    with listen() as listener:
        server = start(tmp_path / "server", models / "echo", [listener], ["--batch"])
        try:
            server.wait_for("READY=1")
        finally:
            server.end()
    assert "cannot answer requests together: the signature is not one of plain columns" in server.printed()
