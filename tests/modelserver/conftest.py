"""Models trained once per session, and the servers that most tests share."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.modelserver.process import ENVIRONMENT, PATIENCE, ServerProcess, listen, start, url, wait_until

MAX_BODY = 4 << 20
EXAMPLE_METADATA = {"age": 23, "gender": "Feminino", "mask_type": "THICK"}


@dataclass(frozen=True)
class Address:
    """A server that tests talk to, by TCP and by its unix socket."""

    client: httpx.Client
    unix: str
    process: ServerProcess


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with `echo` (a diagnosis model with a logged replay) and `ridge` (scikit-learn)."""
    directory = tmp_path_factory.mktemp("models")
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    import mlflow
    import numpy as np
    import pandas as pd
    from sklearn.linear_model import Ridge

    replay = directory / "replay"
    replay.mkdir()
    audio = bytes(range(256))
    (replay / "aceite.wav").write_bytes(audio)
    (replay / "request.json").write_text(
        json.dumps(
            {
                "schema": 1,
                "metadata": EXAMPLE_METADATA,
                "parts": {"aceite": {"file": "aceite.wav", "filename": "aceite.wav"}},
            }
        )
    )
    echo = directory / "echo"
    mlflow.pyfunc.save_model(
        echo,
        python_model=str(Path(__file__).with_name("echo_model.py")),
        artifacts={"replay": str(replay)},
        pip_requirements=["mlflow"],
    )
    files = {"aceite": {"content": bytearray(audio), "filename": "aceite.wav"}}
    output, diagnosis = mlflow.pyfunc.load_model(str(echo)).predict([EXAMPLE_METADATA, files])
    (echo / "artifacts/replay/response.json").write_text(json.dumps({"output": output, "diagnosis": diagnosis}))

    table = pd.DataFrame({"age": [1.0, 2.0, 3.0, 4.0], "spo2": [0.5, 1.0, 0.25, 1.0]})
    target = np.array([10.0, 20.0, 30.0, 41.0])
    mlflow.sklearn.save_model(
        Ridge().fit(table, target),
        directory / "ridge",
        signature=mlflow.models.infer_signature(table, target, params={"threshold": 0.5}),
        input_example=table,
        pip_requirements=["mlflow", "scikit-learn"],
        serialization_format="cloudpickle",
    )
    return directory


@pytest.fixture(scope="session")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for unix sockets."""
    return tmp_path_factory.mktemp("s")


def variant(model: Path, directory: Path, files: dict[str, str]) -> Path:
    """A copy of `model` with some files replaced."""
    shutil.copytree(model, directory)
    for name, text in files.items():
        (directory / name).write_text(text)
    return directory


def _served(directory: Path, model: Path) -> Iterator[Address]:
    tcp = listen()
    unix = listen(str(directory.with_suffix(".sock")))
    server = start(directory, model, [tcp, unix], ["--max-body", str(MAX_BODY)])
    try:
        server.wait_for("READY=1")
        with httpx.Client(base_url=url(tcp), timeout=PATIENCE) as client:
            yield Address(client, unix.getsockname(), server)
    finally:
        server.end()
        for listener in (tcp, unix, server.notifications):
            listener.close()


@pytest.fixture(scope="session")
def echo(models: Path, short: Path) -> Iterator[Address]:
    """The diagnosis model, served."""
    yield from _served(short / "e", models / "echo")


@pytest.fixture(scope="session")
def ridge(models: Path, short: Path) -> Iterator[Address]:
    """The scikit-learn model, served."""
    yield from _served(short / "r", models / "ridge")


@pytest.fixture
def processes() -> Iterator[list[ServerProcess]]:
    """Servers that are ended whatever happens."""
    started: list[ServerProcess] = []
    yield started
    for server in started:
        server.process.kill()
        server.process.wait()
        server.notifications.close()


@pytest.fixture(scope="session")
def reference(models: Path, short: Path) -> Iterator[httpx.Client]:
    """The same scikit-learn model, served by what `mlflow models serve` runs."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (short / "reference").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "--port", str(port), "mlflow.pyfunc.scoring_server.app:app"],
            env={**ENVIRONMENT, "__pyfunc_model_path__": str(models / "ridge")},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE) as client:

            def answers() -> bool:
                try:
                    return client.get("/ping").is_success
                except httpx.TransportError:
                    assert process.poll() is None, (short / "reference").read_text()
                    return False

            wait_until(answers, "MLflow's server answers")
            yield client
    finally:
        process.terminate()
        process.wait(PATIENCE)
