"""Answers /invocations with MLflow's own code, whatever MLflow the model's environment has."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from modelserver.answer import JSON, HttpAnswer, error_answer
from modelserver.errors import CannotServeError, describe_error
from modelserver.model.blame import Blame, blame_for_error, error_status
from modelserver.model.direct_model import ReadyTable
from modelserver.model.entrance import mark_entrance
from modelserver.model.error_log import ModelErrorLog
from modelserver.model.fast_scoring import FastScoring, fast_scoring_for
from modelserver.model.fast_table import parse
from modelserver.model.json_tables import table_inputs
from modelserver.model.json_text import without_nan
from modelserver.model.progress import RequestProgress
from modelserver.model.table_limits import read_json, why_too_large

OLDEST_MLFLOW = "2.6"
FIRST_WITHOUT_FLASK = (2, 21)


class ScoringModel:
    """One loaded model behind `mlflow.pyfunc.scoring_server.invocations()`, which MLflow has since 2.6."""

    def __init__(self, model: Any, error_log: ModelErrorLog) -> None:
        """Finds MLflow's scoring code for `model`; what that raises goes to `error_log`. Raises CannotServeError."""
        self._model = model
        self._error_log = error_log
        self._input_schema = model.metadata.get_input_schema()
        self._table_inputs = table_inputs(model.metadata)
        information = getattr(model.metadata, "saved_input_example_info", None)
        # The MLmodel file is the author's: it may say anything there.
        self.example_information: Mapping[str, Any] = information if isinstance(information, Mapping) else {}
        self._server = import_scoring_server()
        # There, MLflow decodes the body before it calls invocations().
        self._wants_text = _major_and_minor(self._server.VERSION) < FIRST_WITHOUT_FLASK
        self._mlflow_exception: type[Exception] = self._server.MlflowException
        mark_entrance(model, self._mlflow_exception)
        # What was parsed to hold it to the limits need not be parsed again.
        self._takes_documents = not self._wants_text and _takes_documents(self._server)
        self._fast = fast_scoring_for(model, self._server)

    def answer(self, body: bytes, content_type: str | None, request: RequestProgress) -> HttpAnswer:
        """MLflow's answer to this body, except for what docs/serving.md lists. Blocks: call it in a worker thread.

        Lets through what is not MLflow's own exception.
        """
        try:
            return self.score(body, content_type)
        except self._mlflow_exception as failure:
            return self._answer_mlflow_exception(failure, request)

    def score(self, body: bytes, content_type: str | None) -> HttpAnswer:
        """As `answer`, but lets MLflow's exceptions through: the replay names what the model raised."""
        if content_type is None:
            return _bad_request(415, "cannot read the request: it has no Content-Type; say what it is")
        mime_type = content_type.split(";")[0].strip()
        if mime_type == JSON:
            return self._score_json(body, content_type)
        too_large = why_too_large(body, mime_type)
        if too_large is not None:
            return _bad_request(400, too_large)
        return self._score_body(body, content_type, mime_type)

    def _score_json(self, body: bytes, content_type: str) -> HttpAnswer:
        document = parse(body)
        if self._fast is not None and content_type == JSON:
            answer = self._score_table(self._fast, document)
            if answer is not None:
                return answer
        too_large, request = read_json(body, self._table_inputs, document)
        if too_large is not None:
            return _bad_request(400, too_large)
        if request is not None and self._takes_documents:
            return self._invoke(request, content_type, JSON, self._model)
        return self._score_body(body, content_type, JSON)

    def _score_table(self, fast: FastScoring, document: Any) -> HttpAnswer | None:
        """The answer to a table that is exactly what the signature says; None for anything else."""
        table = fast.read(document)
        if table is None:
            return None
        text = fast.answer(table)
        if text is not None:
            return HttpAnswer(200, without_nan(text))
        ready = fast.ready(table)
        return None if ready is None else self._invoke(ready, JSON, JSON, fast.model)

    def _score_body(self, body: bytes, content_type: str, mime_type: str) -> HttpAnswer:
        needs_decoding = self._wants_text and mime_type in ("text/csv", JSON)
        try:
            data = body.decode() if needs_decoding else body
        except UnicodeDecodeError as failure:
            return _bad_request(400, f"cannot read the request: it is not UTF-8 ({failure}); encode it so")
        return self._invoke(data, content_type, mime_type, self._model)

    @property
    def answers_tables(self) -> bool:
        """Whether there are requests that `answer_tables` answers."""
        return self._fast is not None

    def answer_tables(self, bodies: Sequence[bytes]) -> list[HttpAnswer | None]:
        """The answers to JSON bodies that the model is given as one table; None for any that is no plain table.

        Raises what the model raises. Blocks.
        """
        answers: list[HttpAnswer | None] = [None] * len(bodies)
        if self._fast is None:
            return answers
        tables = {at: self._fast.read(parse(body)) for at, body in enumerate(bodies)}
        plain = {at: table for at, table in tables.items() if table is not None}
        texts = self._fast.answer_together([*plain.values()]) if plain else None
        for at, text in zip(plain, texts or ()):  # noqa: B905 - none at all, or one for each
            answers[at] = HttpAnswer(200, without_nan(text))
        return answers

    def _invoke(
        self, data: bytes | str | dict[str, Any] | ReadyTable, content_type: str, mime_type: str, model: Any
    ) -> HttpAnswer:
        try:
            result = self._server.invocations(data, content_type, model, self._input_schema)
        except RuntimeError:
            # On Flask, MLflow asks Flask for the type that it refuses, and there is no Flask request here.
            if mime_type in self._server.CONTENT_TYPES:
                raise
            return self._answer_unknown_type(content_type)
        if result.mimetype != JSON:  # a media type that it refuses
            return _bad_request(result.status, result.response)
        return HttpAnswer(result.status, without_nan(result.response))

    def _answer_unknown_type(self, content_type: str) -> HttpAnswer:
        """What MLflow says where it can."""
        known = self._server.CONTENT_TYPES
        sentence = f"This predictor only supports the following content types: Types: {known}. Got '{content_type}'."
        return _bad_request(415, sentence)

    def _answer_mlflow_exception(self, failure: Any, request: RequestProgress) -> HttpAnswer:
        """MLflow's error without its stack trace, which goes to the journal when it is the model's."""
        blame = blame_for_error(request.stage, failure, request.refused)
        content = json.loads(failure.serialize_as_json())
        content.pop("stack_trace", None)
        mlflow_status = failure.get_http_status_code()
        status = error_status(blame, mlflow_status)
        if status != mlflow_status:  # then MLflow's error_code says the wrong thing, too
            content = {"error_code": "BAD_REQUEST", "message": content["message"]}
        is_release = blame is Blame.RELEASE
        if is_release:
            self._error_log.release_failed("/invocations", request.stage, failure)
        return HttpAnswer(status, json.dumps(content), release_failed=is_release)


def import_scoring_server() -> Any:
    """MLflow's scoring module. Raises CannotServeError with the reason why this environment cannot serve."""
    version = importlib.import_module("mlflow").__version__
    try:
        module = importlib.import_module("mlflow.pyfunc.scoring_server")
    except ImportError as failure:
        raise CannotServeError(
            f"cannot serve with MLflow {version}: its scoring server needs more "
            f"({describe_error(failure, where=False)}); add the missing package to the model's requirements"
        ) from failure
    if not hasattr(module, "invocations"):
        raise CannotServeError(
            f"cannot serve with MLflow {version}: at least {OLDEST_MLFLOW} is needed; "
            "log the model again with a newer MLflow"
        )
    return module


def _takes_documents(server: Any) -> bool:
    """Whether MLflow's scoring code takes an object of JSON in place of its text."""
    document: dict[str, Any] = {}
    try:
        return server._decode_json_input(document) is document
    except Exception:  # noqa: BLE001 - another MLflow: it is given the text
        return False


def _bad_request(status: int, sentence: str) -> HttpAnswer:
    return error_answer(status, "BAD_REQUEST", sentence)


def _major_and_minor(version: str) -> tuple[int, ...]:
    """The first two numbers of a version such as `2.21.0rc1`."""
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])
