"""The web application: routes requests to the model in worker threads and marks every answer with its release."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelserver import describe, parts
from modelserver.answer import JSON, Answer, error
from modelserver.body import BodyTooLargeError
from modelserver.buffers import Buffers, BusyError, Upload
from modelserver.connection import RETRY_AFTER
from modelserver.counters import Counters
from modelserver.diagnosis import Diagnosis
from modelserver.failure import one_line
from modelserver.scoring import Scoring
from modelserver.workers import Workers

_log = logging.getLogger("modelserver")


@dataclass(frozen=True)
class Served:
    """What one release serves, and within which limits."""

    release: str
    mlflow_version: str
    scoring: Scoring
    diagnosis: Diagnosis
    workers: Workers
    buffers: Buffers
    max_body: int
    timeout: float


class Endpoints:
    """The endpoints of one release."""

    def __init__(self, served: Served, counters: Counters) -> None:
        """Endpoints of `served`; what becomes of requests to the model goes into `counters`."""
        self._served = served
        self._counters = counters

    async def ping(self, _: Request) -> Response:
        """The model is loaded, or nobody would be here to answer."""
        return Response("\n", media_type=JSON)

    async def version(self, _: Request) -> Response:
        """MLflow's version in the model's environment."""
        return Response(self._served.mlflow_version, media_type=JSON)

    async def docs(self, _: Request) -> Response:
        """The page for a client developer."""
        return HTMLResponse(describe.page(self._served.release, self._served.max_body))

    async def openapi(self, _: Request) -> Response:
        """The same for a program."""
        return JSONResponse(describe.openapi(self._served.release, self._served.max_body))

    async def invocations(self, request: Request) -> Response:
        """MLflow's scoring protocol."""
        return await self._in_time(request, self._invocations)

    async def predict(self, request: Request) -> Response:
        """Metadata and files in, a diagnosis out."""
        return await self._in_time(request, self._predict)

    async def _invocations(self, request: Request, upload: Upload) -> Answer:
        content_type = request.headers.get("content-type")
        scoring = self._served.scoring
        return await self._worked(request, upload, lambda: scoring.answer(bytes(upload.body), content_type))

    async def _predict(self, request: Request, upload: Upload) -> Answer:
        content_type = request.headers.get("content-type", "")
        if content_type.split(";")[0].strip().lower() != "multipart/form-data":
            return error(
                415,
                "BAD_REQUEST",
                f"cannot read the request: it is {one_line(content_type)!r}; send multipart/form-data",
            )
        try:
            boundary = parts.boundary(content_type)
        except parts.MultipartError as failure:
            return error(400, "BAD_REQUEST", str(failure))

        def work() -> Answer:
            # Here, because it may take long: the event loop has others to look after.
            try:
                metadata, files = parts.parse(boundary, upload.body)
            except parts.MultipartError as failure:
                return error(400, "BAD_REQUEST", str(failure))
            return self._served.diagnosis.answer(metadata, files)

        return await self._worked(request, upload, work)

    async def _worked(self, request: Request, upload: Upload, work: Callable[[], Answer]) -> Answer:
        """Receives the body and has `work` done; the memory of the body is free when no thread needs it any more."""
        encoding = request.headers.get("content-encoding", "identity")
        if encoding.strip().lower() != "identity":
            return error(
                415,
                "BAD_REQUEST",
                f"cannot read the request: it is encoded as {one_line(encoding)!r}; send it as it is",
            )
        self._served.workers.check()
        try:
            await upload.receive(request, self._served.max_body)
        except BaseException:
            upload.release()
            raise
        return await self._served.workers.run(work, done=upload.release)

    async def _in_time(self, request: Request, handle: Callable[[Request, Upload], Awaitable[Answer]]) -> Response:
        """Runs `handle` within the time limit, which is MLflow's, as is the answer after it."""
        upload = self._served.buffers.upload()
        try:
            answer = await asyncio.wait_for(handle(request, upload), self._served.timeout)
        except (TimeoutError, asyncio.TimeoutError):  # noqa: UP041 - two types in Python 3.10
            answer = self._late(request, upload)
        except BodyTooLargeError:
            answer = error(413, "BAD_REQUEST", f"cannot read the request: it exceeds {self._served.max_body} bytes")
        except BusyError as failure:
            # Neither answered nor failed by the release: in its soak, a flood is not its fault.
            busy = error(503, "TEMPORARILY_UNAVAILABLE", str(failure))
            return Response(busy.body, busy.status, {"retry-after": RETRY_AFTER}, media_type=busy.media_type)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it; such a request was never finished
        except Exception:
            self._counters.finished(failed=True)  # _failed() will answer
            raise
        # Before the answer is sent: who has it may rely on its being counted.
        self._counters.finished(answer.failed)
        return Response(answer.body, answer.status, media_type=answer.media_type)

    def _late(self, request: Request, upload: Upload) -> Answer:
        """What is answered when the time is over: it was the client that was slow, or the model."""
        if not upload.complete:
            return error(
                408, "BAD_REQUEST", f"cannot read the request: it did not arrive within {self._served.timeout:g} s"
            )
        _log.warning("%s took longer than %g s", request.url.path, self._served.timeout)
        return Answer(504, "Request processing time exceeded limit")


class Front:
    """Outermost: marks every answer with its release and, when another one is to serve, sends the client away."""

    def __init__(self, application: ASGIApp, release: str) -> None:
        """Marks the answers of `application` with `release`."""
        self._application = application
        self._header = (b"model-release", release.encode())
        self.sends_away = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        body_asked = False
        expects = any(name == b"expect" for name, _ in scope.get("headers", ()))

        async def receive_noted() -> Message:
            nonlocal body_asked
            body_asked = True
            return await receive()

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ()), self._header]
                # A client whose body was not asked for may or may not send it: only a new connection is unambiguous.
                if self.sends_away or (expects and not body_asked):
                    headers.append((b"connection", b"close"))
                message = {**message, "headers": headers}
            await send(message)

        await self._application(scope, receive_noted, send_marked)


def application(served: Served, counters: Counters) -> Front:
    """The application of one release."""
    endpoints = Endpoints(served, counters)
    routes = [
        Route(endpoint.path, getattr(endpoints, endpoint.name), methods=[endpoint.method])
        for endpoint in describe.ENDPOINTS
    ]
    handlers = {HTTPException: _refused, Exception: _failed}
    return Front(Starlette(routes=routes, exception_handlers=handlers), served.release)  # type: ignore[arg-type]  # narrower


async def _refused(_: Request, failure: HTTPException) -> Response:
    """404 and 405 as MLflow's FastAPI application words them."""
    return JSONResponse({"detail": failure.detail}, failure.status_code, headers=failure.headers)


async def _failed(_: Request, failure: Exception) -> Response:
    """A mistake of this server; Starlette raises it again after this answer, so that it is logged."""
    answer = error(500, "INTERNAL_ERROR", f"cannot answer: {type(failure).__name__} in the server; see its journal")
    return Response(answer.body, answer.status, media_type=answer.media_type)
