"""The web application: routes requests to the model in worker threads and marks every answer with its release."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from modelserver.answer import JSON, Answer, error
from modelserver.errors import one_line
from modelserver.http import api_description, form_data
from modelserver.http.body import BodyTooLargeError
from modelserver.http.body_memory import Buffers, BusyError, Upload
from modelserver.http.connection import RETRY_AFTER
from modelserver.http.workers import Workers
from modelserver.model.blame import Blame, Stage, of_failure, of_lateness
from modelserver.model.diagnosis import Diagnosis
from modelserver.model.error_log import Complaints
from modelserver.model.failure_answer import verdict
from modelserver.model.invocations import Scoring
from modelserver.model.progress import Progress
from modelserver.systemd.counters import Counters

Handler = Callable[[Request, Upload, Progress], Awaitable[Answer]]
_log = logging.getLogger("modelserver")


@dataclass(frozen=True)
class Served:
    """What one release serves, and within which limits."""

    release: str
    mlflow_version: str
    scoring: Scoring
    diagnosis: Diagnosis
    complaints: Complaints
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
        # Given up, because of the model; it may still be at them.
        self._overdue: list[Progress] = []

    async def ping(self, _: Request) -> Response:
        """The model is loaded, or nobody would be here to answer."""
        return Response("\n", media_type=JSON)

    async def version(self, _: Request) -> Response:
        """MLflow's version in the model's environment."""
        return Response(self._served.mlflow_version, media_type=JSON)

    async def docs(self, _: Request) -> Response:
        """The page for a client developer."""
        return HTMLResponse(api_description.page(self._served.release, self._served.max_body))

    async def openapi(self, _: Request) -> Response:
        """The same for a program."""
        return JSONResponse(api_description.openapi(self._served.release, self._served.max_body))

    async def invocations(self, request: Request) -> Response:
        """MLflow's scoring protocol."""
        return await self._in_time(request, self._invocations)

    async def predict(self, request: Request) -> Response:
        """Metadata and files in, a diagnosis out."""
        return await self._in_time(request, self._predict)

    async def _invocations(self, request: Request, upload: Upload, progress: Progress) -> Answer:
        content_type = request.headers.get("content-type")
        scoring = self._served.scoring

        def work() -> Answer:
            return scoring.answer(bytes(upload.body), content_type, progress)

        return await self._worked(request, upload, progress, work)

    async def _predict(self, request: Request, upload: Upload, progress: Progress) -> Answer:
        content_type = request.headers.get("content-type", "")
        if content_type.split(";")[0].strip().lower() != "multipart/form-data":
            return error(
                415,
                "BAD_REQUEST",
                f"cannot read the request: it is {one_line(content_type)!r}; send multipart/form-data",
            )
        try:
            boundary = form_data.boundary(content_type)
        except form_data.MultipartError as failure:
            return error(400, "BAD_REQUEST", str(failure))

        def work() -> Answer:
            # Here, because it may take long: the event loop has others to look after.
            try:
                metadata, files = form_data.parse(boundary, upload.body)
            except form_data.MultipartError as failure:
                return error(400, "BAD_REQUEST", str(failure))
            return self._served.diagnosis.answer(metadata, files)

        return await self._worked(request, upload, progress, work)

    async def _worked(self, request: Request, upload: Upload, progress: Progress, work: Callable[[], Answer]) -> Answer:
        """Receives the body and has `work` done; the memory of the body is free when no thread needs it any more.

        Each of the two within the time limit: a body that came slowly takes nothing of the model's time.
        """
        encoding = request.headers.get("content-encoding", "identity")
        if encoding.strip().lower() != "identity":
            return error(
                415,
                "BAD_REQUEST",
                f"cannot read the request: it is encoded as {one_line(encoding)!r}; send it as it is",
            )
        self._served.workers.check()
        try:
            await asyncio.wait_for(upload.receive(request, self._served.max_body), self._served.timeout)
        except BaseException:
            upload.release()
            raise
        progress.stage = Stage.WAITING

        def answered() -> Answer:
            with progress.followed():
                try:
                    return work()
                except BaseException as failure:  # noqa: BLE001 - foreign code: whatever comes is answered
                    return verdict(request.url.path, progress, failure, self._served.complaints)

        return await asyncio.wait_for(self._served.workers.run(answered, done=upload.release), self._served.timeout)

    async def _in_time(self, request: Request, handle: Handler) -> Response:
        """Runs `handle` within the time limit, which is MLflow's, and counts what became of it."""
        upload, progress = self._served.buffers.upload(), Progress()
        try:
            answer = await handle(request, upload, progress)
        except (TimeoutError, asyncio.TimeoutError):  # noqa: UP041 - two types in Python 3.10
            answer = self._late(request, progress)
        except BodyTooLargeError:
            answer = error(413, "BAD_REQUEST", f"cannot read the request: it exceeds {self._served.max_body} bytes")
        except BusyError as failure:
            answer = error(503, "TEMPORARILY_UNAVAILABLE", str(failure))
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it; such a request was never finished
        except Exception as failure:
            self._counters.finished(of_failure(progress.stage, failure, progress.refused) is Blame.RELEASE)
            raise  # _failed() will answer
        if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
            # Neither answered nor failed by the release: in its soak, a flood is not its fault.
            return Response(answer.body, answer.status, {"retry-after": RETRY_AFTER}, media_type=answer.media_type)
        # Before the answer is sent: who has it may rely on its being counted.
        self._counters.finished(answer.failed)
        return Response(answer.body, answer.status, media_type=answer.media_type)

    def _late(self, request: Request, progress: Progress) -> Answer:
        """What is answered when the time is over."""
        limit, path = self._served.timeout, request.url.path
        self._overdue = [earlier for earlier in self._overdue if earlier.stage is not Stage.DONE]
        blame = of_lateness(progress.stage, progress.seconds_in_model() / limit, bool(self._overdue))
        if blame is Blame.CLIENT:
            what = "arrive" if progress.stage is Stage.ARRIVING else "turn into what the model takes"
            return error(408, "BAD_REQUEST", f"cannot read the request: it did not {what} within {limit:g} s")
        if blame is Blame.NOBODY:
            return error(503, "TEMPORARILY_UNAVAILABLE", "cannot answer: too much is under way; try again later")
        if progress.stage is not Stage.WAITING:
            self._overdue.append(progress)
        _log.warning("%s took longer than %g s", path, limit)
        return error(504, "DEADLINE_EXCEEDED", "Request processing time exceeded limit", failed=True)


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
        for endpoint in api_description.ENDPOINTS
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
