"""Whatever a release does wrong is answered as JSON and counted, once each; and the server lives on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import mlflow
import pytest
from mlflow.exceptions import MlflowException

from tests.modelserver.failing_model import ANSWERED, RAISED
from tests.modelserver.hostile_clients import FORM, connected
from tests.modelserver.process import wait_until
from tests.modelserver.test_client_faults import Server, serving

STATUS_OF = {"RESOURCE_DOES_NOT_EXIST": 404, "TEMPORARILY_UNAVAILABLE": 503}
"""Of MLflow's error codes."""
RAISES = (*RAISED, "an endless recursion")
# What cannot be sent by one of the endpoints; the other one has a contract, which none of them fulfils.
NO_JSON = [what for what in ANSWERED if what not in ("an odd key", "a fraction beyond every float")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The failing model."""
    directory = tmp_path_factory.mktemp("failing") / "model"
    code = Path(__file__).with_name("failing_model.py")
    mlflow.pyfunc.save_model(directory, python_model=str(code), pip_requirements=["mlflow"])
    return directory


@pytest.fixture(scope="module")
def failing(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Served."""
    with serving(model, tmp_path_factory.mktemp("s") / "s") as server:
        yield server


def _ask(server: Server, path: str, behave: str) -> httpx.Response:
    told = {"behave": behave}
    if path == "/predict":
        return server.client.post(path, files={"metadata": (None, json.dumps(told))})
    return server.client.post(path, json={"dataframe_records": [told]})


@pytest.mark.parametrize(("path", "status"), [("/invocations", 400), ("/predict", 500)])
def test_whatever_predict_raises_is_answered_and_counted(path: str, status: int, failing: Server) -> None:
    """Exceptions and what is none: ends of the process, of a task, of a generator. MLflow says 400 for the former."""
    requests, errors = failing.counters()
    for behave in RAISES:
        answer = _ask(failing, path, behave)
        raised = RAISED.get(behave, Exception())
        expected = status if isinstance(raised, Exception) else 500
        if path == "/invocations" and isinstance(raised, MlflowException):
            expected = STATUS_OF[raised.error_code]
        assert answer.status_code == expected, behave
        assert answer.headers["model-release"] == "echo@1.0badcafe"
        assert {"error_code", "message"} <= set(answer.json()), behave
    assert _ask(failing, path, "nothing").status_code == 200
    assert failing.counters() == (requests + len(RAISES) + 1, errors + len(RAISES))


@pytest.mark.parametrize(("path", "answers"), [("/invocations", NO_JSON), ("/predict", list(ANSWERED))])
def test_whatever_cannot_be_sent_is_a_500_and_counted(path: str, answers: list[str], failing: Server) -> None:
    """Too deep, not JSON, not what was agreed: it was the model that answered so."""
    requests, errors = failing.counters()
    for behave in answers:
        answer = _ask(failing, path, behave)
        assert (answer.status_code, answer.json()["error_code"]) == (500, "INTERNAL_ERROR"), behave
        assert answer.headers["model-release"] == "echo@1.0badcafe"
    assert failing.counters() == (requests + len(answers), errors + len(answers))


@pytest.mark.parametrize("path", ["/invocations", "/predict"])
def test_a_model_can_refuse_a_request(path: str, failing: Server) -> None:
    """With MLflow's own exception for that: 400, its words, and nobody else is to blame."""
    requests, errors = failing.counters()
    answer = _ask(failing, path, "a refusal")
    assert answer.status_code == 400
    assert "a recording without breath" in answer.json()["message"]
    assert failing.counters() == (requests + 1, errors)


@pytest.mark.parametrize("behave", ["a set", "a decimal", "a long double", "an error without words", "an error"])
def test_the_journal_is_told_once_and_then_how_often(behave: str, failing: Server) -> None:
    """A trace for each kind of failure, not for each request."""
    for _ in range(3):
        _ask(failing, "/invocations", behave)
    failing.process.hear()
    before = failing.process.printed()
    for _ in range(20):
        _ask(failing, "/invocations", behave)
    told = failing.process.printed().removeprefix(before).splitlines()
    assert len(told) <= 1, told
    assert all(line.endswith("times so far)") for line in told)


@pytest.mark.exhaustive
def test_a_model_that_holds_its_threads_is_to_blame_for_all_that_wait_for_one(model: Path, tmp_path: Path) -> None:
    """504 for those that it has, and for those that it never gets."""
    many = 40  # more than there are threads
    with serving(model, tmp_path / "s", "--request-timeout", "5") as server, ThreadPoolExecutor(many) as pool:
        answers = list(pool.map(lambda _: _ask(server, "/predict", "an endless prediction"), range(many)))
        assert [answer.status_code for answer in answers] == [504] * many
        assert answers[0].json()["error_code"] == "DEADLINE_EXCEEDED"
        assert server.counters() == (many, many)


@pytest.mark.exhaustive
def test_a_body_that_comes_slowly_takes_nothing_of_the_model_s_time(models: Path, tmp_path: Path) -> None:
    """The model has the whole time limit, whatever its client took; what never arrives is a 408; neither counts."""
    limit, go = 8.0, tmp_path / "go"
    metadata = json.dumps({"wait_for": str(go)}).encode()
    body = b'--b\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n' + metadata + b"\r\n--b--\r\n"
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with (
        serving(models / "echo", tmp_path / "s", "--request-timeout", f"{limit:g}") as server,
        connected(server.address, 2, head + body[:-1]) as (slow, never),
    ):
        began = time.monotonic()
        wait_until(lambda: time.monotonic() - began > limit * 0.6, "most of the time is over")
        slow.sendall(body[-1:])
        wait_until((tmp_path / "go.begun").exists, "the model has it")
        wait_until(lambda: time.monotonic() - began > limit * 1.2, "the time of both together is over")
        go.touch()
        assert slow.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert never.recv(65536).startswith(b"HTTP/1.1 408 ")
        assert server.counters() == (2, 0)
