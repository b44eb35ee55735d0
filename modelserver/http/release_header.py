"""Marks every answer with the release that gave it, and closes connections while another release takes over."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class ReleaseHeaderMiddleware:
    """Outermost of the application: adds `Model-Release` to every answer.

    While `sends_clients_away` is set, answers carry `Connection: close`: so that kept connections end, and clients
    connect anew to the release that listens by then.
    """

    def __init__(self, application: ASGIApp, release: str) -> None:
        """Marks the answers of `application` with `release`."""
        self._application = application
        self._header = (b"model-release", release.encode())
        self.sends_clients_away = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        body_was_asked_for = False
        client_waits_to_be_asked = any(name == b"expect" for name, _ in scope.get("headers", ()))

        async def receive_and_note() -> Message:
            nonlocal body_was_asked_for
            body_was_asked_for = True
            return await receive()

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ()), self._header]
                # A client whose body was not asked for may or may not send it: only a new connection is unambiguous.
                body_is_uncertain = client_waits_to_be_asked and not body_was_asked_for
                if self.sends_clients_away or body_is_uncertain:
                    headers.append((b"connection", b"close"))
                message = {**message, "headers": headers}
            await send(message)

        await self._application(scope, receive_and_note, send_marked)
