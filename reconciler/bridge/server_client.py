"""Asks the model's server at its unix socket, as any client does; docs/serving.md has what it answers."""

import httpx

from reconciler.bridge.messages import Request, read_answer
from reconciler.bridge.outcome import Outcome, RequestFailedError
from reconciler.core.text.quote import one_line

PATIENCE = 90.0
"""Seconds for one answer. The server's own limit is 60 from when it has the whole request."""
_LONGEST_ANSWER = 16 * 1024**2
"""Bytes."""
_MOST_SHOWN = 300
_TRY_AGAIN = (408, 425, 429, 502, 503)


class ServerClient:
    """The server behind one unix socket."""

    def __init__(self, socket_path: str) -> None:
        """Prepare to ask. Each request has a connection of its own, so a hand-over closes none that is kept."""
        transport = httpx.AsyncHTTPTransport(uds=socket_path, limits=httpx.Limits(max_keepalive_connections=0))
        self._client = httpx.AsyncClient(
            transport=transport, base_url="http://model", timeout=PATIENCE, trust_env=False, follow_redirects=False
        )

    async def close(self) -> None:
        """Close what is open."""
        await self._client.aclose()

    async def predict(self, request: Request, recordings: dict[str, tuple[str, bytes]]) -> dict[str, object]:
        """Have the model predict; `recordings`: file names and bytes by kind. Raises RequestFailedError."""
        parts: list[tuple[str, tuple[str | None, str | bytes]]] = [("metadata", (None, request.metadata))]
        parts += [(kind, (filename, content)) for kind, (filename, content) in recordings.items()]
        try:
            async with self._client.stream("POST", "/predict", files=parts) as answer:
                release = one_line(answer.headers.get("Model-Release", ""), 200)
                body = await _body(answer, release)
        except httpx.TransportError as error:
            why = one_line(str(error), _MOST_SHOWN) or type(error).__name__
            raise RequestFailedError(
                Outcome.SERVER_UNAVAILABLE,
                f"cannot ask the model's server: {why}; see reconciler status on the host",
            ) from None
        if answer.status_code == httpx.codes.OK:
            return read_answer(body, release)
        raise _refusal(answer.status_code, release)


async def _body(answer: httpx.Response, release: str) -> bytes:
    body = bytearray()
    async for piece in answer.aiter_bytes():
        body += piece
        if len(body) > _LONGEST_ANSWER:
            raise RequestFailedError(
                Outcome.MODEL_ERROR, "cannot use the model's answer: it is too long; mend the model's predict", release
            )
    return bytes(body)


def _refusal(status: int, release: str) -> RequestFailedError:
    """Say what a status means. The server's own words are not repeated: they may quote the request."""
    look = f"see journalctl MODEL={release.partition('@')[0]} on the host" if release else "see the journal of the host"
    if status in _TRY_AGAIN:
        why = f"cannot ask the model's server: it is busy or ends (HTTP {status}); {look}"
        return RequestFailedError(Outcome.SERVER_UNAVAILABLE, why, release)
    if status == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
        why = "cannot have the model predict: the recordings are more than deploy.max_body; raise it on the host"
        return RequestFailedError(Outcome.REFUSED_BY_MODEL, why, release)
    if 400 <= status < 500 or status == httpx.codes.NOT_IMPLEMENTED:
        why = f"cannot have the model predict: it refuses the request (HTTP {status}); {look}"
        return RequestFailedError(Outcome.REFUSED_BY_MODEL, why, release)
    why = f"cannot have the model predict: it failed (HTTP {status}); {look}"
    return RequestFailedError(Outcome.MODEL_ERROR, why, release)
