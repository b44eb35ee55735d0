"""Answers /invocations with MLflow's own code, whatever MLflow the model's environment has."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from modelserver.answer import JSON, Answer, error
from modelserver.errors import CannotServeError, describe
from modelserver.model.blame import Blame, of_failure, status_of
from modelserver.model.entrance import watch
from modelserver.model.error_log import Complaints
from modelserver.model.progress import Progress
from modelserver.model.table_limits import refusal, taken

OLDEST_MLFLOW = "2.6"
FIRST_WITHOUT_FLASK = (2, 21)


class Scoring:
    """One loaded model behind `mlflow.pyfunc.scoring_server.invocations()`, which MLflow has since 2.6."""

    def __init__(self, model: Any, complaints: Complaints) -> None:
        """Finds MLflow's scoring code for `model`; what that raises goes to `complaints`. Raises CannotServeError."""
        self._model = model
        self._complaints = complaints
        self._input_schema = model.metadata.get_input_schema()
        self._takes = taken(model.metadata)
        self.example_information: Mapping[str, Any] = getattr(model.metadata, "saved_input_example_info", None) or {}
        self._server = scoring_server()
        # There, MLflow decodes the body before it calls invocations().
        self._wants_text = _version(self._server.VERSION) < FIRST_WITHOUT_FLASK
        self._exception: type[Exception] = self._server.MlflowException
        watch(model, self._exception)

    def answer(self, body: bytes, content_type: str | None, request: Progress) -> Answer:
        """MLflow's answer to this body, except for what docs/serving.md lists. Blocks: call it in a worker thread.

        Lets through what is not MLflow's own exception.
        """
        try:
            return self.call(body, content_type)
        except self._exception as failure:
            return self._mlflow_error(failure, request)

    def call(self, body: bytes, content_type: str | None) -> Answer:
        """As `answer`, but lets MLflow's exceptions through: the replay names what the model raised."""
        if content_type is None:
            return error(415, "BAD_REQUEST", "cannot read the request: it has no Content-Type; say what it is")
        mime_type = content_type.split(";")[0].strip()
        if refused := refusal(body, mime_type, self._takes):
            return error(400, "BAD_REQUEST", refused)
        data: bytes | str = body
        if self._wants_text and mime_type in ("text/csv", JSON):
            try:
                data = body.decode()
            except UnicodeDecodeError as failure:
                return error(400, "BAD_REQUEST", f"cannot read the request: it is not UTF-8 ({failure}); encode it so")
        try:
            result = self._server.invocations(data, content_type, self._model, self._input_schema)
        except RuntimeError:
            # On Flask, MLflow asks Flask for the type that it refuses, and there is no Flask request here.
            if mime_type in self._server.CONTENT_TYPES:
                raise
            known = self._server.CONTENT_TYPES
            sentence = (
                f"This predictor only supports the following content types: Types: {known}. Got '{content_type}'."
            )
            return error(415, "BAD_REQUEST", sentence)
        if result.mimetype != JSON:  # a media type that it refuses
            return error(result.status, "BAD_REQUEST", result.response)
        return Answer(result.status, _valid_json(result.response))

    def _mlflow_error(self, failure: Any, request: Progress) -> Answer:
        """MLflow's error without its stack trace, which goes to the journal when it is the model's."""
        blame = of_failure(request.stage, failure, request.refused)
        content = json.loads(failure.serialize_as_json())
        content.pop("stack_trace", None)
        answered = failure.get_http_status_code()
        if (status := status_of(blame, answered)) != answered:
            content = {"error_code": "BAD_REQUEST", "message": content["message"]}
        if blame is Blame.RELEASE:
            self._complaints.failed("/invocations", request.stage, failure)
        return Answer(status, json.dumps(content), failed=blame is Blame.RELEASE)


def scoring_server() -> Any:
    """MLflow's scoring module, or the reason why this environment cannot serve."""
    version = importlib.import_module("mlflow").__version__
    try:
        module = importlib.import_module("mlflow.pyfunc.scoring_server")
    except ImportError as failure:
        raise CannotServeError(
            f"cannot serve with MLflow {version}: its scoring server needs more ({describe(failure, where=False)}); "
            "add the missing package to the model's requirements"
        ) from failure
    if not hasattr(module, "invocations"):
        raise CannotServeError(
            f"cannot serve with MLflow {version}: at least {OLDEST_MLFLOW} is needed; "
            "log the model again with a newer MLflow"
        )
    return module


def _version(text: str) -> tuple[int, ...]:
    """Major and minor number of a version such as `2.21.0rc1`."""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])


def _valid_json(text: str) -> str:
    """`text` with NaN and ±Infinity as null; parsed again only when one of the words is in it."""
    if "NaN" not in text and "Infinity" not in text:
        return text
    nothing: Callable[[str], None] = lambda _: None  # noqa: E731 - a name for json's callback, nothing more
    return json.dumps(json.loads(text, parse_constant=nothing, object_pairs_hook=_Pairs))


class _Pairs(dict[str, Any]):
    """An object of JSON with all of its pairs: of a model's keys 1 and "1" json writes the same name twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self._pairs = pairs

    def items(self) -> Any:
        """Every pair, in their order; what json writes of a dictionary that is not its own."""
        return self._pairs
