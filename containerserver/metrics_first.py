"""Answers `/metrics` in front of a container: the figures are those of this server, whatever runs in the container."""

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from modelserver.http import exposition
from modelserver.http.metrics import Metrics

PATH = "/metrics"
ROUTES = ("/", "/ping", "/health", "/version", "/docs", "/openapi.json", PATH)
"""What our own server in a container has; others may have more, which are not told apart."""


class MetricsFirst:
    """Passes on everything else."""

    def __init__(self, application: ASGIApp, metrics: Metrics) -> None:
        """In front of `application`."""
        self._application = application
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["path"] != PATH or scope["method"] not in ("GET", "HEAD"):
            await self._application(scope, receive, send)
            return
        response = Response(self._metrics.text(), media_type=exposition.CONTENT_TYPE)
        await response(scope, receive, send)
