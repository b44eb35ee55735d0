"""A release says READY only after it has proved itself, and says in one sentence why it could not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.modelserver.conftest import EXAMPLE_METADATA, variant
from tests.modelserver.process import PATIENCE, ServerProcess, listen, start, url

_HEAD = "import mlflow\nclass M(mlflow.pyfunc.PythonModel):\n"
_TAIL = "mlflow.models.set_model(M())\n"
_PREDICT = "    def predict(self, context, model_input):\n        "


def _code(body: str) -> dict[str, str]:
    return {"echo_model.py": _HEAD + body + _TAIL}


_REQUEST = {"schema": 1, "metadata": {}, "parts": {"aceite": {"file": "aceite.wav", "filename": "a"}}}
# What is wrong with the model, and what of the sentence a data scientist needs.
BROKEN: dict[str, tuple[str, dict[str, str], tuple[str, ...]]] = {
    "a package is missing": (
        "echo",
        {"echo_model.py": "import no_such_package\n"},
        ("cannot load the model: ", "ModuleNotFoundError", "no_such_package", "echo_model.py line 1", "requirements"),
    ),
    "it raises on load": (
        "echo",
        _code(
            "    def load_context(self, context):\n        raise OSError('weights\\nare gone')\n" + _PREDICT + "pass\n"
        ),
        ("cannot load the model: OSError: weights are gone (echo_model.py line 4, in load_context)",),
    ),
    "it leaves on load": (
        "echo",
        _code("    def load_context(self, context):\n        raise SystemExit(3)\n" + _PREDICT + "pass\n"),
        ("cannot load the model: SystemExit: 3 (echo_model.py line 4, in load_context)",),
    ),
    "it raises on its example": (
        "echo",
        _code(_PREDICT + "return 1 / 0\n"),
        ("cannot answer the logged example: the model raised ZeroDivisionError", "echo_model.py line 4, in predict"),
    ),
    "it answers its example with another number": (
        "echo",
        _code(_PREDICT + "return [24.0, 256, 1, 1, 1], 'negative'\n"),
        ("cannot trust the model: ", "output[0] = 24.0 where 23.0 was logged"),
    ),
    "it answers its example with another diagnosis": (
        "echo",
        _code(_PREDICT + "return [], 'positive'\n"),
        ("cannot trust the model: ", "diagnosis 'positive' where 'negative' was logged"),
    ),
    "its output is not of the contract": (
        "echo",
        _code(_PREDICT + "return [0.1, 0.2, 0.3]\n"),
        ("cannot use the model's answer: predict returned a list", "[0.1, 0.2, 0.3]"),
    ),
    "its example points elsewhere": (
        "echo",
        {"artifacts/replay/request.json": json.dumps(_REQUEST).replace("aceite.wav", "../../MLmodel")},
        ("cannot read the logged example: ", "outside of its directory"),
    ),
    "MLflow's own example fails": (
        "ridge",
        {"serving_input_example.json": '{"dataframe_records": [{"age": 1.0}]}'},
        ("cannot answer the logged example: MlflowException: ", "spo2"),
    ),
}


@pytest.fixture(scope="module")
def broken(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ServerProcess]]:
    """Every broken model, started; two at a time, which is what a small machine bears."""
    directory = tmp_path_factory.mktemp("b")
    listener = listen()
    servers: dict[str, ServerProcess] = {}
    try:
        for index, (name, (model, files, _)) in enumerate(BROKEN.items()):
            if index > 1:
                list(servers.values())[index - 2].ended()
            changed = variant(models / model, directory / f"m{index}", files)
            servers[name] = start(directory / str(index), changed, [listener])
        yield servers
    finally:
        for server in servers.values():
            server.process.kill()
            server.notifications.close()
        listener.close()


@pytest.mark.parametrize("name", BROKEN)
def test_a_model_that_cannot_serve_ends_with_78_and_the_reason(name: str, broken: dict[str, ServerProcess]) -> None:
    """The reason is the unit's status, one line without a trace, and the last line of the journal."""
    server = broken[name]
    assert server.ended() == 78
    assert not any("READY=1" in told for told in server.told)
    reason = server.told[-1].removeprefix("STATUS=")
    assert "\n" not in reason
    assert "Traceback" not in reason
    assert reason == server.printed().splitlines()[-1]
    assert all(part in reason for part in BROKEN[name][2]), reason
    assert "; " in reason


def test_ready_is_said_only_after_the_replay(models: Path, tmp_path: Path) -> None:
    """Until its example is answered the server neither says READY nor answers anybody."""
    signal = tmp_path / "go"
    request = json.loads((models / "echo/artifacts/replay/request.json").read_text())
    request["metadata"] = {**EXAMPLE_METADATA, "wait_for": str(signal)}
    model = variant(models / "echo", tmp_path / "m", {"artifacts/replay/request.json": json.dumps(request)})
    listener = listen()
    server = start(tmp_path / "s", model, [listener])
    try:
        server.wait_for("STATUS=replaying")
        with pytest.raises(httpx.ReadTimeout):
            httpx.get(f"{url(listener)}/ping", timeout=0.5)
        assert not server.listen_to_it(0.1)
        signal.touch()
        ready = server.wait_for("READY=1")
        assert "STATUS=answering as echo@1.0badcafe" in ready
        assert "its logged example was answered as logged" in ready
        assert httpx.get(f"{url(listener)}/ping", timeout=PATIENCE).status_code == 200
    finally:
        status = server.end()
        listener.close()
    assert status == 0


@pytest.mark.parametrize("passed", [0, 1])
def test_a_server_without_all_of_its_sockets_says_so(models: Path, tmp_path: Path, passed: int) -> None:
    """A release that answers on one of its two addresses only is not ready."""
    listeners = [listen() for _ in range(passed)]
    server = start(tmp_path / "s", models / "echo", listeners, ["--sockets", "2"])
    assert server.ended() == 78
    assert server.told[-1].startswith(f"STATUS=cannot listen: {passed} of 2 sockets were passed; ")
    for listener in listeners:
        listener.close()
