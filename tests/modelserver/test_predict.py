"""/predict hands metadata and files to the model as they are, and holds the model to its contract."""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

import httpx
import mlflow
import pytest

from tests.modelserver.conftest import MAX_BODY, Address
from tests.modelserver.process import PATIENCE, wait_until

FILES = {
    "every byte": {"aceite": ("a.wav", bytes(range(256)))},
    "every byte, in the other order, with line ends": {"frase": ("f.wav", bytes(range(255, -1, -1)) + b"\r\n--\r\n")},
    "an empty file": {"sustentada": ("s.wav", b"")},
    "a megabyte": {"parlenda": ("p.wav", os.urandom(1 << 20))},
    "all four, and another": {
        **{name: (f"{name}.wav", name.encode() * 99) for name in ("aceite", "sustentada", "parlenda", "frase")},
        "tosse": ("tosse ção.ogg", b"\x00\xff"),
    },
    "no file": {},
}


def _predict(client: httpx.Client, metadata: object, files: dict[str, Any] | None = None) -> httpx.Response:
    return client.post("/predict", files=[("metadata", (None, json.dumps(metadata))), *(files or {}).items()])


@pytest.mark.parametrize("name", FILES)
def test_the_answer_is_that_of_the_model_in_process(name: str, echo: Address, models: Path) -> None:
    """The same numbers as `mlflow.pyfunc.load_model(...).predict(...)`: they depend on every byte and name."""
    metadata = {"age": 41, "local": "Outro — São Paulo"}
    parts = {
        part: {"content": bytearray(content), "filename": filename} for part, (filename, content) in FILES[name].items()
    }
    output, diagnosis = mlflow.pyfunc.load_model(str(models / "echo")).predict([metadata, parts])
    answer = _predict(echo.client, metadata, FILES[name])
    assert answer.status_code == 200
    assert answer.json() == {"output": output, "diagnosis": diagnosis}


def test_metadata_may_be_sent_as_a_file_part(echo: Address) -> None:
    """As `curl -F 'metadata=@metadata.json;type=application/json'` does."""
    answer = echo.client.post("/predict", files={"metadata": ("m.json", b'{"age": 5}', "application/json")})
    assert answer.json() == {"output": [5.0], "diagnosis": "negative"}


@pytest.mark.parametrize(
    ("behave", "expected"),
    [
        ("numpy", {"output": [0.5, 3, 0.25], "diagnosis": "positive"}),
        ("array", {"output": [0.5, 1.5], "diagnosis": "inconclusive"}),
        ("nan", {"output": [None, None, 1], "diagnosis": "positive"}),
    ],
)
def test_numbers_of_numpy_are_welcome_and_nan_is_null(behave: str, expected: object, echo: Address) -> None:
    """The answer is valid JSON whatever kind of number the model uses."""
    assert _predict(echo.client, {"behave": behave}).json() == expected


@pytest.mark.parametrize("behave", ["alone", "word", "text", "truth", "nested", "table", "nothing"])
def test_an_answer_against_the_contract_is_a_500_that_says_what_was_wanted(behave: str, echo: Address) -> None:
    """What came back and what was wanted, in one sentence."""
    answer = _predict(echo.client, {"behave": behave})
    assert answer.status_code == 500
    assert answer.json()["message"].startswith("cannot use the model's answer: ")
    assert "(a list of numbers, one of positive, negative, inconclusive)" in answer.json()["message"]


def test_a_model_that_raises_is_a_500_without_a_stack_trace(echo: Address) -> None:
    """Type and message in one line; the trace is in the journal."""
    answer = _predict(echo.client, {"behave": "raise"})
    assert answer.status_code == 500
    assert answer.json()["message"] == (
        "cannot answer: the model raised ValueError: no breath was found in the recording"
    )
    assert "Traceback" in echo.process.printed()


def test_a_model_that_fails_every_request_does_not_flood_the_journal(echo: Address) -> None:
    """The trace once, later how often; what else goes wrong is told, too."""
    for behave in ("raise", "word"):
        for _ in range(12):
            assert _predict(echo.client, {"behave": behave}).status_code == 500
    for sentence in ("/predict: the model raised ValueError: no breath", "/predict: cannot use the model's answer"):
        told = [line for line in echo.process.printed().splitlines() if sentence in line]
        assert ["(10 times so far)" in line for line in told] == [False, True]


@pytest.mark.parametrize("path", ["/predict", "/invocations"])
def test_a_model_that_wants_to_leave_does_not_take_the_server_with_it(path: str, echo: Address) -> None:
    """`sys.exit()` in a prediction fails that request only."""
    if path == "/predict":
        answer = _predict(echo.client, {"behave": "leave"})
    else:
        answer = echo.client.post(path, json={"dataframe_records": [{"leave": 1}]})
    assert answer.status_code == 500
    assert "SystemExit" in answer.json()["message"]
    assert _predict(echo.client, {}).status_code == 200


FORM = "multipart/form-data; boundary=b"
_META = b'--b\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n{}\r\n'
_FILE = b'--b\r\nContent-Disposition: form-data; name="frase"; filename="f"\r\n\r\nx\r\n'


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("", b"", 415),
        ("multipart/form-data", _META + b"--b--\r\n", 400),
        (FORM, b"", 400),
        (FORM, b"not multipart at all", 400),
        (FORM, _META, 400),
        (FORM, _META + _FILE[:-4], 400),
        (FORM, _FILE + b"--b--\r\n", 400),
        (FORM, _META + _META + b"--b--\r\n", 400),
        (FORM, _META + _FILE + _FILE + b"--b--\r\n", 400),
        (FORM, _META.replace(b"{}", b"{") + b"--b--\r\n", 400),
        (FORM, _META.replace(b"{}", b"[1]") + b"--b--\r\n", 400),
        (FORM, _META.replace(b"{}", b"\xff") + b"--b--\r\n", 400),
        (FORM, _META.replace(b"{}", b"[" * 100_000) + b"--b--\r\n", 400),
        (FORM, _META + _FILE.replace(b'; filename="f"', b"") + b"--b--\r\n", 400),
        (FORM, _META + _FILE.replace(b'; name="frase"', b"") + b"--b--\r\n", 400),
    ],
)
def test_a_request_that_cannot_be_read_is_refused_in_a_sentence(
    content_type: str, body: bytes, status: int, echo: Address
) -> None:
    """Wrong media type, broken or cut multipart, missing or doubled parts, metadata that is no object."""
    headers = {"content-type": content_type} if content_type else {}
    answer = echo.client.post("/predict", content=body, headers=headers)
    assert (answer.status_code, answer.json()["message"][:12]) == (status, "cannot read ")
    assert answer.headers["model-release"] == "echo@1.0badcafe"


@pytest.mark.parametrize("path", ["/predict", "/invocations"])
def test_a_body_over_the_limit_is_refused(path: str, echo: Address) -> None:
    """Whether its length is said beforehand or not; the next request is answered as ever."""
    headers = {"content-type": FORM}
    declared = echo.client.post(path, content=bytes(MAX_BODY + 1), headers=headers)

    def pieces() -> Any:
        yield b'--b\r\nContent-Disposition: form-data; name="x"; filename="x"\r\n\r\n'
        for _ in range(MAX_BODY >> 16):
            yield bytes(1 << 16)

    streamed = echo.client.post(path, content=pieces(), headers=headers)
    for answer in (declared, streamed):
        assert answer.status_code == 413
        assert answer.json()["message"] == f"cannot read the request: it exceeds {MAX_BODY} bytes"
        assert answer.headers["model-release"] == "echo@1.0badcafe"
    assert _predict(echo.client, {}).status_code == 200


def test_a_client_that_asks_first_is_refused_before_it_sends_the_body(echo: Address) -> None:
    """`Expect: 100-continue`, which curl sends with a large body."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(echo.unix)
        connection.sendall(
            f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\nExpect: 100-continue\r\n"
            f"Content-Length: {MAX_BODY + 1}\r\n\r\n".encode()
        )
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()


def test_a_slow_prediction_keeps_nobody_else_waiting(echo: Address, tmp_path: Path) -> None:
    """Predictions run in worker threads; the event loop goes on."""
    signal = tmp_path / "go"
    answers: list[httpx.Response] = []
    slow = threading.Thread(target=lambda: answers.append(_predict(echo.client, {"wait_for": str(signal)})))
    slow.start()
    wait_until((tmp_path / "go.begun").exists, "the prediction is under way")
    assert echo.client.get("/ping").status_code == 200
    assert _predict(echo.client, {}).status_code == 200
    assert not answers
    signal.touch()
    slow.join(PATIENCE)
    assert answers[0].status_code == 200


def test_every_inherited_socket_answers_with_the_release(echo: Address) -> None:
    """The unix socket as the TCP one, errors and unknown paths included."""
    with httpx.Client(transport=httpx.HTTPTransport(uds=echo.unix), base_url="http://model") as unix:
        for client in (unix, echo.client):
            for path in ("/ping", "/nothing", "/predict", "/docs", "/openapi.json"):
                assert client.get(path).headers["model-release"] == "echo@1.0badcafe"


def test_the_description_needs_no_network_and_names_every_endpoint(echo: Address) -> None:
    """A page without scripts or links to elsewhere, and the same as OpenAPI."""
    page = echo.client.get("/docs").text
    paths = echo.client.get("/openapi.json").json()["paths"]
    known = {"/predict", "/invocations", "/ping", "/health", "/version", "/metrics", "/docs", "/openapi.json"}
    assert set(paths) == known
    assert all(f" {path}</code>" in page for path in paths)
    assert "<script" not in page
    assert "//" not in page.replace("<!doctype", "").replace(f"curl http://127.0.0.1:{echo.client.base_url.port}", "")
