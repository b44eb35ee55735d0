"""One model server and one store for the whole folder; a broker for each test, since tests end it."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bridge.process import Bridge, start_bridge
from tests.modelserver.process import listen, start
from tests.nats_server import Nats, nats_server
from tests.s3 import Buckets, buckets

ECHO = Path(__file__).parents[1] / "modelserver" / "echo_model.py"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The unix socket of a real server, whose model answers with what it was given."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    import mlflow

    directory = tmp_path_factory.mktemp("m")
    replay = directory / "replay"
    replay.mkdir()
    (replay / "request.json").write_text(json.dumps({"schema": 1, "metadata": {"age": 1}, "parts": {}}))
    (replay / "response.json").write_text(json.dumps({"output": [1.0], "diagnosis": "negative"}))
    model = directory / "echo"
    artifacts = {"replay": str(replay)}
    mlflow.pyfunc.save_model(model, python_model=str(ECHO), artifacts=artifacts, pip_requirements=["mlflow"])
    path = str(directory / "s")
    listener = listen(path)
    process = start(directory / "process", model, [listener])
    try:
        process.wait_for("READY=1")
        yield path
    finally:
        process.end()
        listener.close()
        process.notifications.close()


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Buckets]:
    """A real S3 server."""
    with buckets(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture(params=["JetStream", "core NATS"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Nats]:
    """A real broker, with and without JetStream."""
    with nats_server(tmp_path / "nats", jetstream=request.param == "JetStream") as running:
        yield running


@pytest.fixture
def jetstream(tmp_path: Path) -> Iterator[Nats]:
    """A real broker with JetStream."""
    with nats_server(tmp_path / "nats") as running:
        yield running


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Nats]:
    """A real broker without JetStream."""
    with nats_server(tmp_path / "nats", jetstream=False) as running:
        yield running


Start = Callable[..., Bridge]


@pytest.fixture
def bridge(tmp_path: Path, server: str, store: Buckets) -> Iterator[Start]:
    """Start a bridge to a broker; all are ended whatever happens."""
    started: list[Bridge] = []

    def start_one(broker: Nats | str, *arguments: str, **more: Any) -> Bridge:
        directory = tmp_path / f"b{len(started)}"
        one = start_bridge(directory, broker, more.pop("store", store), more.pop("server", server), *arguments, **more)
        started.append(one)
        return one

    yield start_one
    for one in started:
        one.process.kill()
        one.process.wait()
        one.notifications.close()
