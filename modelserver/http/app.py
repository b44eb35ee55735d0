"""The web application: routes requests to the model in worker threads and counts what becomes of them.

A request passes, from outside in: ReleaseHeaderMiddleware, Measured, the routes, Endpoints. There `_answer` first
has the request looked at in the event loop (`_scoring_of`, `_diagnosis_of`), which gives the work that is left for a
thread.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import NamedTuple

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from modelserver.answer import JSON, HttpAnswer, error_answer
from modelserver.errors import one_line
from modelserver.http import api_description, exposition, form_data
from modelserver.http.body_memory import BodyMemory, BodyTooLargeError, BusyError, Upload
from modelserver.http.connection import RETRY_AFTER
from modelserver.http.interruption import Interruption
from modelserver.http.measured import Measured
from modelserver.http.metrics import CLIENT_LEFT, Identity, Metrics
from modelserver.http.release_header import ReleaseHeaderMiddleware
from modelserver.http.web.pages import Pages
from modelserver.http.workers import Workers
from modelserver.model import joined
from modelserver.model.blame import Blame, Stage, blame_for_error, blame_for_timeout
from modelserver.model.diagnosis import DiagnosisModel
from modelserver.model.error_log import ModelErrorLog
from modelserver.model.failure_answer import answer_failure
from modelserver.model.invocations import ScoringModel
from modelserver.model.progress import RequestProgress, in_this_thread
from modelserver.systemd.counters import Counters


class Work(NamedTuple):
    """What a worker thread does with a body that has arrived."""

    compute: Callable[[Upload, RequestProgress], HttpAnswer]
    may_join: bool = False
    """Whether it is a body of JSON for /invocations, which others may be answered together with."""


_log = logging.getLogger("modelserver")


@dataclass(frozen=True)
class ServedRelease:
    """What one release serves, and within which limits: bytes of a body, seconds of a request."""

    identity: Identity
    mlflow_version: str
    scoring: ScoringModel
    diagnosis: DiagnosisModel
    error_log: ModelErrorLog
    pages: Pages
    workers: Workers
    body_memory: BodyMemory
    max_body: int
    timeout: float

    @property
    def release(self) -> str:
        """As answers carry it."""
        return f"{self.identity.deployment}@{self.identity.release}"


class RefusedRequestError(Exception):
    """The request is answered before its body has arrived."""

    def __init__(self, status: int, sentence: str) -> None:
        """`sentence` is for the client."""
        super().__init__(sentence)
        self.answer = error_answer(status, "BAD_REQUEST", sentence)


class Endpoints:
    """The endpoints of one release."""

    def __init__(self, served: ServedRelease, counters: Counters, metrics: Metrics) -> None:
        """Endpoints of `served`; what becomes of requests to the model goes into `counters`."""
        self._served = served
        self._counters = counters
        self._metrics = metrics
        # Requests that were given up because of the model, and whose threads may still be held by it.
        self._overdue: list[RequestProgress] = []

    async def ping(self, _: Request) -> Response:
        """The model is loaded, or nobody would be here to answer."""
        return Response("\n", media_type=JSON)

    async def version(self, _: Request) -> Response:
        """MLflow's version in the model's environment."""
        return Response(self._served.mlflow_version, media_type=JSON)

    async def metrics(self, _: Request) -> Response:
        """The figures of this process."""
        return Response(self._metrics.text(), media_type=exposition.CONTENT_TYPE)

    async def docs(self, request: Request) -> Response:
        """The page for a client developer."""
        return self._served.pages.docs(request)

    async def openapi(self, _: Request) -> Response:
        """The same for a program."""
        return JSONResponse(api_description.openapi(self._served.release, self._served.max_body))

    async def invocations(self, request: Request) -> Response:
        """MLflow's scoring protocol."""
        return await self._answer(request, self._scoring_of)

    async def predict(self, request: Request) -> Response:
        """Metadata and files in, a diagnosis out."""
        return await self._answer(request, self._diagnosis_of)

    def _scoring_of(self, request: Request) -> Work:
        content_type = request.headers.get("content-type")

        def compute(upload: Upload, progress: RequestProgress) -> HttpAnswer:
            return self._served.scoring.answer(bytes(upload.body), content_type, progress)

        return Work(compute, may_join=content_type == JSON)

    def _diagnosis_of(self, request: Request) -> Work:
        """Raises RefusedRequestError."""
        content_type = request.headers.get("content-type", "")
        if content_type.split(";")[0].strip().lower() != "multipart/form-data":
            sentence = f"cannot read the request: it is {one_line(content_type)!r}; send multipart/form-data"
            raise RefusedRequestError(415, sentence)
        try:
            boundary = form_data.parse_boundary(content_type)
        except form_data.MultipartError as failure:
            raise RefusedRequestError(400, str(failure)) from failure

        def compute(upload: Upload, _: RequestProgress) -> HttpAnswer:
            # Parsed in the thread, because it may take long: the event loop has others to look after.
            try:
                metadata, files = form_data.parse_form(boundary, upload.body)
            except form_data.MultipartError as failure:
                return error_answer(400, "BAD_REQUEST", str(failure))
            return self._served.diagnosis.answer(metadata, files)

        return Work(compute)

    async def _answer(self, request: Request, work_of: Callable[[Request], Work]) -> Response:
        """Answers within the time limits, and counts what became of the request."""
        upload, progress = self._served.body_memory.upload(), RequestProgress()
        try:
            work = work_of(request)
            _check_encoding(request)
            answer = await self._receive_and_work(request, upload, progress, work)
        except RefusedRequestError as refusal:
            answer = refusal.answer
        except TimeoutError:
            answer = self._answer_too_late(request, progress)
        except BodyTooLargeError:
            sentence = f"cannot read the request: it exceeds {self._served.max_body} bytes"
            answer = error_answer(413, "BAD_REQUEST", sentence)
        except BusyError as failure:
            answer = error_answer(503, "TEMPORARILY_UNAVAILABLE", str(failure))
        except asyncio.CancelledError:
            # uvicorn cancels what is under way at the drain limit. Not raised again, or uvicorn would answer with its
            # own 500 and log a traceback. Nothing is awaited from here on but the sending of this answer.
            sentence = "cannot answer: this server ends before the answer is there; try again"
            answer = error_answer(503, "TEMPORARILY_UNAVAILABLE", sentence)
        except ClientDisconnect:
            return Response(status_code=CLIENT_LEFT)  # nobody reads it; such a request was never finished
        except Exception as failure:
            blame = blame_for_error(progress.stage, failure, progress.refused)
            self._counters.count(release_failed=blame is Blame.RELEASE)
            raise  # _answer_server_error() will answer
        return self._counted(answer)

    async def _receive_and_work(
        self, request: Request, upload: Upload, progress: RequestProgress, work: Work
    ) -> HttpAnswer:
        """Receives the body and has `work` done in a thread.

        Each of the two within the time limit: a body that came slowly takes nothing of the model's time.
        """
        path, served = request.scope["path"], self._served
        # Before the body is asked for, which nobody could work on. run() asks again: the body may take its time.
        served.workers.check_room()
        try:
            with Interruption(served.timeout):
                await upload.receive(request, served.max_body)
        except BaseException:
            upload.free()
            raise
        progress.wait()

        def work_in_thread() -> HttpAnswer:
            with in_this_thread(progress):
                try:
                    return work.compute(upload, progress)
                except BaseException as failure:  # noqa: BLE001 - foreign code: whatever comes is answered
                    return answer_failure(path, progress, failure, served.error_log)

        # The memory is freed when no thread needs the body any more, which may be long after the time limit.
        with Interruption(served.timeout):
            item = (upload, progress) if work.may_join and upload.size <= joined.MAX_BODY else None
            return await served.workers.run(work_in_thread, on_done=upload.free, item=item)

    def _counted(self, answer: HttpAnswer) -> Response:
        is_unavailable = answer.status == HTTPStatus.SERVICE_UNAVAILABLE
        headers = {"retry-after": RETRY_AFTER} if is_unavailable else None
        # A 503 of ours is not counted: neither the release answered nor failed. In its soak, a flood is not its fault.
        # A 503 that the model raised is.
        if answer.release_failed or not is_unavailable:
            # Before the answer is sent: who has it may rely on its being counted.
            self._counters.count(answer.release_failed)
        return Response(answer.body, answer.status, headers, media_type=answer.media_type)

    def _answer_too_late(self, request: Request, progress: RequestProgress) -> HttpAnswer:
        """What is answered when the time is over."""
        limit, path = self._served.timeout, request.scope["path"]
        self._overdue = [earlier for earlier in self._overdue if earlier.stage is not Stage.DONE]
        share = progress.seconds_in_model() / limit
        blame = blame_for_timeout(progress.stage, share, stuck=bool(self._overdue))
        if blame is Blame.CLIENT:
            what = "arrive" if progress.stage is Stage.ARRIVING else "turn into what the model takes"
            return error_answer(408, "BAD_REQUEST", f"cannot read the request: it did not {what} within {limit:g} s")
        if blame is Blame.NOBODY:
            sentence = "cannot answer: too much is under way; try again later"
            return error_answer(503, "TEMPORARILY_UNAVAILABLE", sentence)
        if progress.stage is not Stage.WAITING:
            self._overdue.append(progress)
        _log.warning("%s took longer than %g s", path, limit)
        # Status and words are those of MLflow's own server.
        return error_answer(504, "DEADLINE_EXCEEDED", "Request processing time exceeded limit", release_failed=True)


def make_application(served: ServedRelease, counters: Counters, metrics: Metrics) -> ReleaseHeaderMiddleware:
    """The ASGI application of one release."""
    endpoints = Endpoints(served, counters, metrics)
    routes = [
        Route(endpoint.path, getattr(endpoints, endpoint.name), methods=[endpoint.method])
        for endpoint in api_description.ENDPOINTS
    ]
    routes += served.pages.routes()
    handlers = {HTTPException: _answer_http_exception, Exception: _answer_server_error}
    starlette = Starlette(routes=routes, exception_handlers=handlers)  # type: ignore[arg-type]  # handlers are narrower
    to_model = {("POST", "/invocations"): endpoints.invocations, ("POST", "/predict"): endpoints.predict}
    return ReleaseHeaderMiddleware(Measured(_ModelFirst(to_model, starlette), metrics), served.release)


class _ModelFirst:
    """Routes what is for the model; anything else goes through Starlette, which takes as long as a small model."""

    def __init__(self, to_model: Mapping[tuple[str, str], Callable[[Request], Awaitable[Response]]], rest: ASGIApp):
        """`to_model` has the endpoint for each method and path."""
        self._to_model = to_model
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        endpoint = self._to_model.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if endpoint is None:
            await self._rest(scope, receive, send)
            return
        request = Request(scope, receive, send)
        try:
            response = await endpoint(request)
        except Exception as failure:
            response = await _answer_server_error(request, failure)
            await response(scope, receive, send)
            raise  # so that it is logged
        await response(scope, receive, send)


def _check_encoding(request: Request) -> None:
    """Raises RefusedRequestError for a body that would have to be decompressed: it may grow without end."""
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.strip().lower() != "identity":
        sentence = f"cannot read the request: it is encoded as {one_line(encoding)!r}; send it as it is"
        raise RefusedRequestError(415, sentence)


async def _answer_http_exception(_: Request, failure: HTTPException) -> Response:
    """404 and 405 as MLflow's FastAPI application words them."""
    return JSONResponse({"detail": failure.detail}, failure.status_code, headers=failure.headers)


async def _answer_server_error(_: Request, failure: Exception) -> Response:
    """A mistake of this server; Starlette raises it again after this answer, so that it is logged."""
    sentence = f"cannot answer: {type(failure).__name__} in the server; see its journal"
    answer = error_answer(500, "INTERNAL_ERROR", sentence)
    return Response(answer.body, answer.status, media_type=answer.media_type)
