"""/metrics in front of a container is this server's own; everything else is the container's."""

import asyncio

import pytest
from starlette.types import Message, Receive, Scope, Send

from containerserver.metrics_first import MetricsFirst
from modelserver.http.measured import Measured
from modelserver.http.metrics import Identity, Metrics
from modelserver.systemd.counters import Counters


async def container(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answers everything, /metrics too."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"the container's"})


def ask(metrics: Metrics, method: str, path: str) -> bytes:
    """The body of an answer."""
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    application = Measured(MetricsFirst(container, metrics), metrics)
    scope = {"type": "http", "method": method, "path": path, "headers": []}
    asyncio.run(application(scope, receive, send))
    return b"".join(message.get("body", b"") for message in sent)


@pytest.mark.parametrize(
    ("method", "path", "ours"),
    [("GET", "/metrics", True), ("POST", "/metrics", False), ("GET", "/metrics/x", False), ("POST", "/predict", False)],
)
def test_only_the_figures_are_answered_here(method: str, path: str, ours: bool) -> None:
    """And requests to the container are among them."""
    metrics = Metrics(Identity("m", "1.aa", "1", {"runtime": "compose"}), Counters())
    assert (b"modelserver_info" in ask(metrics, method, path)) is ours
    ask(metrics, "POST", "/invocations")
    assert b'route="/invocations",status="200"} 1\n' in ask(metrics, "GET", "/metrics")
