"""Measures every request that reaches the application: how long it takes, and what status it is answered with."""

from __future__ import annotations

import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelserver.http.metrics import CLIENT_LEFT, Metrics


class Measured:
    """Passes requests on to an application, and tells `Metrics` what became of them."""

    def __init__(self, application: ASGIApp, metrics: Metrics) -> None:
        """Measures `application`."""
        self._application = application
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        metrics, began = self._metrics, time.perf_counter()
        route = metrics.route_of(scope["path"])
        is_answered = False

        async def send_and_note(message: Message) -> None:
            nonlocal is_answered
            # Before it is sent: who has an answer may rely on its being counted.
            if message["type"] == "http.response.start":
                is_answered = True
                metrics.answered(route, message["status"], time.perf_counter() - began)
            await send(message)

        is_for_model = route in metrics.in_flight
        if is_for_model:
            metrics.in_flight[route] += 1
        try:
            await self._application(scope, receive, send_and_note)
        finally:
            if is_for_model:
                metrics.in_flight[route] -= 1
            if not is_answered:
                metrics.answered(route, CLIENT_LEFT, time.perf_counter() - began)
