"""/metrics says what a process counted, in the format that Prometheus reads."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families as parsed
from starlette.types import Message

from modelserver.http import exposition
from modelserver.http.measured import Measured
from modelserver.http.metrics import Identity, Metrics
from modelserver.systemd.counters import Counters
from tests.modelserver.conftest import Address
from tests.modelserver.process import wait_until

ODD = 'a "b" \\ c\nd'
TABLE = b'{"dataframe_split": {"columns": ["age", "spo2"], "data": [[1.0, 0.5]]}}'


def figures(text: str) -> dict[tuple[str, ...], float]:
    """Every sample by its name and by its labels, but for those that tell the process."""
    found = {}
    for metric in parsed(text):
        for sample in metric.samples:
            labels = [f"{key}={value}" for key, value in sorted(sample.labels.items()) if key not in ("pid", "release")]
            found[(sample.name, *labels)] = sample.value
    return found


def read(server: Address) -> dict[tuple[str, ...], float]:
    """What a server says now."""
    answer = server.client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return figures(answer.text)


def grown(before: dict[tuple[str, ...], float], after: dict[tuple[str, ...], float]) -> dict[tuple[str, ...], float]:
    """What has changed of the counters of requests, without /metrics itself."""
    return {
        key[0:1] + key[2:]: value - before.get(key, 0)
        for key, value in after.items()
        if key[0].endswith(("_total", "_count")) and value != before.get(key, 0) and "route=/metrics" not in key
    }


def test_requests_are_counted_by_route_and_status(ridge: Address) -> None:
    """What the model answered, what it refused, and what was not for it; a path that a client makes up is no label."""
    before = read(ridge)
    json_type = {"content-type": "application/json"}
    for content in (TABLE, TABLE, b"{"):
        ridge.client.post("/invocations", content=content, headers=json_type)
    ridge.client.get("/made-up/1")
    ridge.client.get("/made-up/2")
    with httpx.Client(transport=httpx.HTTPTransport(uds=ridge.unix), base_url="http://model") as client:
        client.get("/ping")
    port = ridge.client.base_url.port
    ridge.client.get("/ping", headers={"host": f"evil.example:{port}"})
    assert grown(before, read(ridge)) == {
        ("modelserver_requests_total", "route=/invocations", "status=200"): 2,
        ("modelserver_requests_total", "route=/invocations", "status=400"): 1,
        ("modelserver_requests_total", "route=/ping", "status=200"): 1,
        ("modelserver_requests_total", "route=other", "status=404"): 2,
        ("modelserver_refused_requests_total", "status=421"): 1,
        ("modelserver_counted_requests_total",): 3,
        ("modelserver_request_duration_seconds_count", "route=/invocations"): 3,
    }


def test_errors_are_those_of_the_status_line(echo: Address) -> None:
    """The release is to blame for one of them."""
    before = read(echo)
    for metadata in ({"age": 1}, {"behave": "raise"}):
        echo.client.post("/predict", files={"metadata": (None, json.dumps(metadata))})
    changed = grown(before, read(echo))
    assert changed["modelserver_counted_requests_total",] == 2
    assert changed["modelserver_counted_errors_total",] == 1


def test_a_status_that_nobody_knows_is_no_label() -> None:
    """A container answers with what it likes, and each series stays."""
    metrics = Metrics(Identity("m", "1.aa", "1", {}), Counters())
    for status in range(100, 1000):
        metrics.answered("/predict", status, 0.1)
    answers = {key: value for key, value in figures(metrics.text()).items() if "route=/predict" in key}
    told = {key[-1]: value for key, value in answers.items() if key[0] == "modelserver_requests_total"}
    assert [told[f"status={status}"] for status in (200, 418, 499, 504)] == [1] * 4
    assert len(told) < 70
    assert told["status=other"] == 900 - (len(told) - 1)


def test_a_request_is_in_flight_until_it_is_answered(echo: Address, tmp_path: Path) -> None:
    """The answer to /metrics does not wait for the model."""
    metadata = {"wait_for": str(tmp_path / "go")}
    asking = threading.Thread(
        target=lambda: echo.client.post("/predict", files={"metadata": (None, json.dumps(metadata))})
    )
    asking.start()
    in_flight = ("modelserver_requests_in_flight", "deployment=echo", "route=/predict")
    try:
        wait_until(lambda: Path(f"{metadata['wait_for']}.begun").exists(), "the model has the request")
        assert read(echo)[in_flight] == 1
    finally:
        (tmp_path / "go").touch()
        asking.join()
    assert read(echo)[in_flight] == 0


def test_what_a_process_is_can_be_told(ridge: Address) -> None:
    """Which release of which deployment, and since when."""
    text = ridge.client.get("/metrics").text
    information = next(metric for metric in parsed(text) if metric.name == "modelserver_info").samples[0].labels
    assert information["deployment"] == "echo"
    assert information["release"] == "1.0badcafe"
    assert information["version"] == "1"
    assert information["pid"] == str(ridge.process.process.pid)
    assert set(information) == {"deployment", "release", "version", "pid", "mlflow", "python"}
    began = figures(text)["process_start_time_seconds", "deployment=echo"]
    of_process = Path(f"/proc/{ridge.process.process.pid}").stat().st_mtime
    assert abs(began - of_process) < 10


def test_promtool_finds_nothing_to_say(ridge: Address) -> None:
    """Its linter knows the conventions, and its parser is Prometheus' own."""
    if shutil.which("promtool") is None:
        pytest.skip("needs promtool, of Debian's package prometheus")
    ridge.client.post("/invocations", content=TABLE, headers={"content-type": "application/json"})
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=ridge.client.get("/metrics").content,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_text_of_a_label_is_read_back_as_it_was() -> None:
    """Quotes, line ends and backslashes."""
    text = exposition.family("x_total", "counter", ODD, [({"name": ODD}, 3)])
    (metric,) = parsed(text)
    assert (metric.documentation, metric.samples[0].labels, metric.samples[0].value) == (ODD, {"name": ODD}, 3)


def test_a_histogram_adds_up() -> None:
    """Each bucket counts everything up to its bound."""
    text = exposition.histogram("t", "T.", (0.5, 2), [({"route": "/x"}, [1, 2, 4], 12.5)])
    (metric,) = parsed(text)
    assert [(sample.name, sample.labels.get("le"), sample.value) for sample in metric.samples] == [
        ("t_bucket", "0.5", 1),
        ("t_bucket", "2", 3),
        ("t_bucket", "+Inf", 7),
        ("t_sum", None, 12.5),
        ("t_count", None, 7),
    ]


def metrics() -> Metrics:
    """Those of a server that has answered nothing."""
    return Metrics(Identity("m", "1.aa", "1", {}), Counters(), ("/ping",))


def ask(application: Any, path: str, measured: Metrics) -> None:
    """One request to an application."""

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(_: Message) -> None:
        pass

    scope = {"type": "http", "method": "POST", "path": path, "headers": []}
    asyncio.run(Measured(application, measured)(scope, receive, send))


def test_a_client_that_left_is_counted_as_such_and_takes_no_part_in_the_times() -> None:
    """How long a phone took to lose its network says nothing of a server."""

    async def silent(*_: object) -> None:
        pass

    counted = metrics()
    ask(silent, "/predict", counted)
    found = figures(counted.text())
    assert found["modelserver_requests_total", "deployment=m", "route=/predict", "status=499"] == 1
    assert found["modelserver_request_duration_seconds_count", "deployment=m", "route=/predict"] == 0


def test_an_application_that_fails_leaves_nothing_in_flight() -> None:
    """A mistake of the server's own."""

    async def failing(*_: object) -> None:
        raise RuntimeError("torn")

    counted = metrics()
    with pytest.raises(RuntimeError, match="torn"):
        ask(failing, "/predict", counted)
    assert figures(counted.text())["modelserver_requests_in_flight", "deployment=m", "route=/predict"] == 0
