"""Nothing of a request is kept by MLflow's traces, neither on disk nor in memory."""

from __future__ import annotations

import json
import os
from pathlib import Path

import httpx
import pytest

from tests.modelserver.process import PATIENCE, ServerProcess, listen, start, url

PATIENT = "Quintessa-Vandermolen-7731"
FILE = os.urandom(5 << 20)
WAYS = ("span", "detached", "switched on", "begun anew")


def _saved(name: str, directory: Path) -> Path:
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    import mlflow

    code = Path(__file__).with_name(f"{name}.py")
    mlflow.tracing.disable()
    if name == "traced_model":
        # Its code is not to run here, where it would switch traces on for the tests.
        mlflow.pyfunc.save_model(directory, python_model=str(Path(__file__).with_name("echo_model.py")))
        (directory / "echo_model.py").write_text(code.read_text())
    else:
        mlflow.pyfunc.save_model(directory, python_model=str(code), pip_requirements=["mlflow"])
    return directory


def _left(place: Path) -> tuple[int, list[str]]:
    """How many bytes are below `place`, and which files have the patient's name in them."""
    files = [path for path in place.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files), [
        str(path) for path in files if PATIENT.encode() in path.read_bytes()
    ]


def _start(model: Path, directory: Path, processes: list[ServerProcess]) -> tuple[str, Path, ServerProcess]:
    """A server whose every writable place is below one directory."""
    place = directory / "place"
    place.mkdir()
    listener = listen()
    places = {"TMPDIR": str(place), "HOME": str(place)}
    server = start(directory / "s", model, [listener], environment=places, cwd=place)
    processes.append(server)
    address = url(listener)
    listener.close()
    server.wait_for("READY=1")
    return address, place, server


def test_a_traced_model_keeps_nothing_of_its_requests(tmp_path: Path, processes: list[ServerProcess]) -> None:
    """Whatever its code switches on while it is loaded and with each request; nor does its end write anything."""
    address, place, server = _start(_saved("traced_model", tmp_path / "m"), tmp_path, processes)
    for way in WAYS:
        metadata = json.dumps({"patient": PATIENT, "way": way})
        answer = httpx.post(
            f"{address}/predict",
            files={"aceite": (f"{PATIENT}.wav", FILE)},
            data={"metadata": metadata},
            timeout=PATIENCE,
        )
        assert answer.status_code == 200, answer.text
        traces, exporters = answer.json()["output"]
        assert traces == 0, way  # the one of this very request would be among them
        # One that is switched on by a request waits for what never comes.
        assert exporters == 0 or way in WAYS[2:], way
    assert server.end() == 0
    size, files_with_it = _left(place)
    assert files_with_it == []
    assert size < len(FILE), "an empty database that the model's code asked for, and no request"
    assert "given up" not in server.printed()


def test_an_agent_that_mlflow_traces_keeps_nothing(tmp_path: Path, processes: list[ServerProcess]) -> None:
    """As MLflow does with every ResponsesAgent, unasked."""
    address, place, server = _start(_saved("traced_agent", tmp_path / "m"), tmp_path, processes)
    before, _ = _left(place)
    asked = {"input": [{"role": "user", "content": PATIENT}]}
    for _ in WAYS:
        answer = httpx.post(f"{address}/invocations", json=asked, timeout=PATIENCE)
        assert answer.status_code == 200, answer.text
    assert server.end() == 0
    after, files = _left(place)
    assert files == []
    assert after == before


@pytest.mark.exhaustive
def test_an_address_in_the_servers_environment_takes_the_traces(tmp_path: Path, processes: list[ServerProcess]) -> None:
    """Whoever sets MLFLOW_TRACKING_URI for a server wants them."""
    model = _saved("traced_agent", tmp_path / "m")
    listener = listen()
    place = tmp_path / "place"
    place.mkdir()
    environment = {"TMPDIR": str(place), "HOME": str(place), "MLFLOW_TRACKING_URI": f"sqlite:///{place}/wanted.db"}
    server = start(tmp_path / "s", model, [listener], environment=environment, cwd=place)
    processes.append(server)
    server.wait_for("READY=1")
    asked = {"input": [{"role": "user", "content": PATIENT}]}
    assert httpx.post(f"{url(listener)}/invocations", json=asked, timeout=PATIENCE).status_code == 200
    listener.close()
    assert server.end() == 0
    _, files = _left(place)
    assert f"{place}/wanted.db" in files
