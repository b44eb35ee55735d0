"""Describes the endpoints once, as a table, from which the routes, `/docs` and `/openapi.json` are made.

Sentences are Markdown, as OpenAPI has them: code is between backticks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modelserver.model.diagnosis import DIAGNOSES


@dataclass(frozen=True)
class Endpoint:
    """One endpoint; `name` is the method of `Endpoints` that answers it."""

    name: str
    method: str
    path: str
    summary: str
    accepts: tuple[str, ...] = ()
    answers: tuple[tuple[int, str, str], ...] = ()
    notes: str = ""


_ERRORS = (
    (400, "application/json", "the request cannot be read: `{error_code, message}`"),
    (408, "application/json", "the body did not arrive in time"),
    (413, "application/json", "the body is larger than this server allows"),
    (415, "application/json", "the media type is not one of those accepted"),
    (500, "application/json", "the model failed, or did not answer as agreed"),
    (
        503,
        "application/json",
        "too much is under way, or the server ends: try again after the seconds of `Retry-After`",
    ),
    (504, "application/json", "the model took too long"),
)
ENDPOINTS = (
    Endpoint(
        "predict",
        "POST",
        "/predict",
        "Diagnose: metadata and files in, numbers and a diagnosis out",
        ("multipart/form-data",),
        (
            (200, "application/json", '`{"output": [numbers], "diagnosis": "' + "|".join(DIAGNOSES) + '"}`'),
            *_ERRORS,
            (501, "application/json", "this model is of another kind: use `/invocations`"),
        ),
        "Part `metadata` is a JSON object; every other part is a file, under a name that the model knows "
        "(`aceite`, `sustentada`, `parlenda`, `frase`, …). The bytes reach the model as they are.",
    ),
    Endpoint(
        "invocations",
        "POST",
        "/invocations",
        "Score, as `mlflow models serve` does",
        ("application/json", "text/csv", "application/vnd.apache.parquet"),
        (
            (
                200,
                "application/json",
                '`{"predictions": …}`; of what came with `messages`, `prompt` or `input`, the bare answer',
            ),
            *_ERRORS,
        ),
        "JSON is an object with exactly one of `dataframe_split`, `dataframe_records`, `instances`, `inputs`, and "
        "optionally `params`. Models of language take an object with `messages`, `prompt` or `input`: all of it "
        "reaches the model, what it declares as params as those. NaN and infinities come back as `null`.",
    ),
    Endpoint("ping", "GET", "/ping", "Is the model loaded?", answers=((200, "application/json", "an empty line"),)),
    Endpoint("ping", "GET", "/health", "The same as `/ping`", answers=((200, "application/json", "an empty line"),)),
    Endpoint(
        "version", "GET", "/version", "MLflow's version", answers=((200, "application/json", "the version, bare"),)
    ),
    Endpoint(
        "metrics",
        "GET",
        "/metrics",
        "Counts and times of this process, for Prometheus",
        answers=((200, "text/plain", "the text format of Prometheus, version 0.0.4"),),
    ),
    Endpoint("docs", "GET", "/docs", "This description", answers=((200, "text/html", "a page without scripts"),)),
    Endpoint(
        "openapi", "GET", "/openapi.json", "The same for programs", answers=((200, "application/json", "OpenAPI 3.1"),)
    ),
)
PATHS = tuple(endpoint.path for endpoint in ENDPOINTS)
# Schemas of the bodies that this server itself defines; what /invocations takes depends on the model.
_REQUEST_SCHEMAS: dict[str, dict[str, Any]] = {
    "multipart/form-data": {
        "type": "object",
        "required": ["metadata"],
        "properties": {"metadata": {"type": "object"}},
        "additionalProperties": {"type": "string", "contentMediaType": "application/octet-stream"},
    },
    "application/json": {
        "type": "object",
        "properties": {
            **{key: {} for key in ("dataframe_split", "dataframe_records", "instances", "inputs")},
            **{key: {} for key in ("messages", "prompt", "input")},
            "params": {"type": "object"},
        },
    },
    "text/csv": {"type": "string"},
    "application/vnd.apache.parquet": {"type": "string", "contentMediaType": "application/vnd.apache.parquet"},
}
_DIAGNOSIS_SCHEMA = {
    "type": "object",
    "required": ["output", "diagnosis"],
    "properties": {
        "output": {"type": "array", "items": {"type": ["number", "null"]}},
        "diagnosis": {"type": "string", "enum": list(DIAGNOSES)},
    },
}


def openapi(release: str, max_body: int) -> dict[str, Any]:
    """The OpenAPI 3.1 description."""
    paths: dict[str, Any] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {"title": release, "version": release.rpartition("@")[2], "description": limits_sentence(max_body)},
        "paths": paths,
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.path.strip("/").replace(".", "_"),
        "summary": endpoint.summary,
        "responses": {
            str(status): {
                "description": meaning,
                "headers": {"Model-Release": {"schema": {"type": "string"}}},
                "content": {media_type: _answer_schema(endpoint, status)},
            }
            for status, media_type, meaning in endpoint.answers
        },
    }
    if endpoint.notes:
        operation["description"] = endpoint.notes
    if endpoint.accepts:
        operation["requestBody"] = {
            "required": True,
            "content": {media_type: {"schema": _REQUEST_SCHEMAS[media_type]} for media_type in endpoint.accepts},
        }
    return operation


def _answer_schema(endpoint: Endpoint, status: int) -> dict[str, Any]:
    # What /invocations answers depends on the model.
    return {"schema": _DIAGNOSIS_SCHEMA} if endpoint.path == "/predict" and status == 200 else {}


def limits_sentence(max_body: int) -> str:
    """What holds for every request. `max_body` is in bytes."""
    return (
        f"A request may have {_size(max_body)}. Every answer carries `Model-Release: <name>@<release>`, "
        "the release that gave it."
    )


def _size(number: int) -> str:
    """Bytes in the largest unit in which they have at most one digit behind the point."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if number >= factor and (10 * number) % factor == 0:
            return f"{number / factor:g} {unit}"
    return f"{number} bytes"
