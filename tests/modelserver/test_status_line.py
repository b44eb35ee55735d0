"""The status line ends with what was answered and what of that failed, and is sent only when there is news."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from modelserver.systemd.counters import Counters
from modelserver.systemd.notify import Notifier
from modelserver.systemd.status_line import StatusLine
from tests.modelserver.conftest import MAX_BODY
from tests.modelserver.process import PATIENCE, ServerProcess, listen, start, url
from tests.modelserver.test_invocations import BAD, GOOD

TABLE = "application/json"
FORM = "multipart/form-data; boundary=b"


class Serving:
    """One server in its soak, and a client of it."""

    def __init__(self, process: ServerProcess, client: httpx.Client) -> None:
        self.process = process
        self.client = client

    def predict(self, metadata: str) -> int:
        """The status of an answer of /predict."""
        return self.client.post("/predict", files={"metadata": (None, metadata)}).status_code

    def invoke(self, body: str) -> int:
        """The status of an answer of /invocations."""
        return self.client.post("/invocations", content=body, headers={"content-type": TABLE}).status_code


def _serving(model: Path, directory: Path) -> Iterator[Serving]:
    with listen() as tcp:
        process = start(directory, model, [tcp], ["--soak", "600", "--max-body", str(MAX_BODY)])
        try:
            process.wait_for("READY=1")
            with httpx.Client(base_url=url(tcp), timeout=PATIENCE) as client:
                yield Serving(process, client)
            assert process.end() == 0
        finally:
            process.process.kill()
            process.process.wait()
            process.notifications.close()


@pytest.fixture
def echo(models: Path, tmp_path: Path) -> Iterator[Serving]:
    """The diagnosis model."""
    yield from _serving(models / "echo", tmp_path / "e")


@pytest.fixture
def ridge(models: Path, tmp_path: Path) -> Iterator[Serving]:
    """The scikit-learn model, which has a signature."""
    yield from _serving(models / "ridge", tmp_path / "r")


def test_what_the_model_fails_is_an_error_and_what_a_client_gets_wrong_is_none(echo: Serving) -> None:
    """On both endpoints; MLflow answers with 400 when the model raised, which is an error all the same."""
    assert echo.predict("{}") == 200
    assert echo.predict("{") == 400
    assert echo.client.post("/predict", content=b"{}", headers={"content-type": TABLE}).status_code == 415
    assert echo.client.post("/predict", content=b"no", headers={"content-type": FORM}).status_code == 400
    assert echo.client.post("/predict", content=bytes(MAX_BODY + 1), headers={"content-type": FORM}).status_code == 413
    assert echo.invoke('{"inputs": [{"age": 5}, {}]}') == 200
    assert echo.invoke("{") == 400
    assert echo.client.post("/invocations", content=b"{}", headers={"content-type": "text/xml"}).status_code == 415
    assert echo.client.get("/predict").status_code == 405
    assert echo.client.get("/ping").status_code == 200
    echo.process.wait_for("; requests=8 errors=0")

    assert echo.predict('{"behave": "raise"}') == 500
    assert echo.predict('{"behave": "leave"}') == 500
    assert echo.predict('{"behave": "word"}') == 500
    assert echo.invoke('{"dataframe_records": [{"age": 5}]}') == 400
    assert echo.invoke('{"dataframe_records": [{"leave": 1}]}') == 500
    echo.process.wait_for("; requests=13 errors=5")


def test_no_request_that_the_signature_refuses_is_an_error(ridge: Serving) -> None:
    """Whatever is wrong with it, /predict included, which this model does not have."""
    for content_type, body in (*GOOD.values(), *BAD.values()):
        content = {"content": body} if isinstance(body, bytes) else {"json": body}
        answer = ridge.client.post("/invocations", headers={"content-type": content_type or ""}, **content)
        assert answer.status_code < 500
    ridge.process.wait_for(f"; requests={len(GOOD) + len(BAD)} errors=0")
    assert ridge.predict("{}") == 501
    ridge.process.wait_for(f"; requests={len(GOOD) + len(BAD) + 1} errors=0")


def test_there_is_no_line_without_news(echo: Serving) -> None:
    """The first one says READY=1 and counts nothing; requests to other paths are no news."""
    ready = (
        r"READY=1\nSTATUS=answering as echo@1\.0badcafe; loaded in \d+\.\d s, "
        r"its logged example was answered as logged; requests=0 errors=0"
    )
    for path in ("/ping", "/health", "/version", "/docs", "/openapi.json", "/nothing"):
        echo.client.get(path)
    assert not echo.process.listen_to_it(1.5)
    assert re.fullmatch(ready, echo.process.told[-1])
    heard = echo.process.hear()
    assert echo.predict("{}") == 200
    line = echo.process.wait_for("STATUS=", heard)
    assert line == echo.process.told[heard - 1].removeprefix("READY=1\n").replace("requests=0", "requests=1")
    assert echo.process.hear() == heard + 1


def test_a_server_that_cannot_tell_systemd_serves_on(echo: Serving) -> None:
    """It says so in the journal, and tells when it can again."""
    place = Path(echo.process.notifications.getsockname())
    place.rename(place.with_name("away"))
    assert echo.predict("{}") == 200
    while "cannot tell the service manager" not in echo.process.printed():
        assert echo.client.get("/ping").status_code == 200
    place.with_name("away").rename(place)
    echo.process.wait_for("; requests=1 errors=0")


class _Told(Notifier):
    """Keeps the lines instead of sending them."""

    def __init__(self) -> None:
        super().__init__(None)
        self.lines: list[str] = []

    def send(self, *states: str) -> bool:
        """Keeps the last state, which is the status."""
        self.lines.append(states[-1].rpartition("; ")[2])
        return True


def test_news_are_told_every_second_in_the_soak_and_every_minute_after_it() -> None:
    """The last one is never left out: it comes when the time has passed."""
    told, counters = _Told(), Counters()
    status_line = StatusLine(told, counters, "echo@1", "loaded", soak=10)
    status_line.ready(100.0, standing_by=False)
    expected = ["requests=0 errors=0"]

    def after(now: float, *lines: str) -> None:
        status_line.tick(now)
        expected.extend(lines)
        assert told.lines == expected

    after(105.0)
    counters.count(release_failed=False)
    after(105.1, "requests=1 errors=0")
    counters.count(release_failed=True)
    after(106.0)
    after(106.1, "requests=2 errors=1")
    counters.count(release_failed=False)
    after(109.5, "requests=3 errors=1")
    # Happened in the soak and could not be told in it.
    counters.count(release_failed=True)
    after(110.4)
    after(110.5, "requests=4 errors=2")
    counters.count(release_failed=True)
    after(111.6)
    after(170.4)
    after(170.5, "requests=5 errors=3")
    after(1000.0)
