"""/invocations and its neighbours answer as MLflow's own server does, except for what docs/serving.md lists."""

from __future__ import annotations

import io
import json
from typing import Any

import httpx
import pandas as pd
import pytest

from tests.modelserver.conftest import Address

TABLE = pd.DataFrame({"age": [1.5, 60.0], "spo2": [0.5, 0.25]})
JSON = "application/json"


def _parquet(table: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.to_parquet(buffer)
    return buffer.getvalue()


GOOD: dict[str, tuple[str | None, Any]] = {
    "csv": ("text/csv", TABLE.to_csv(index=False).encode()),
    "csv with a charset": ("text/csv; charset=utf-8", TABLE.to_csv(index=False).encode()),
    "parquet": ("application/vnd.apache.parquet", _parquet(TABLE)),
    "dataframe_split": (JSON, {"dataframe_split": TABLE.to_dict(orient="split")}),
    "dataframe_records": (JSON, {"dataframe_records": TABLE.to_dict(orient="records")}),
    "instances": (JSON, {"instances": TABLE.to_dict(orient="records")}),
    "inputs": (JSON, {"inputs": TABLE.to_dict(orient="list")}),
    "params": (JSON, {"inputs": TABLE.to_dict(orient="list"), "params": {"threshold": 0.75}}),
    "integers where numbers are wanted": (JSON, {"dataframe_records": [{"age": 1, "spo2": 2}]}),
    "a column more": (JSON, {"dataframe_records": [{"age": 1.0, "spo2": 2.0, "local": "x"}]}),
}
BAD: dict[str, tuple[str | None, Any]] = {
    "no JSON": (JSON, b"{"),
    "no UTF-8": (JSON, b'{"inputs": "\xff"}'),
    "nothing": (JSON, b""),
    "a list": (JSON, [1, 2]),
    "a number": (JSON, 3),
    "no known key": (JSON, {"data": [1]}),
    "two keys": (JSON, {"inputs": [[1.0, 2.0]], "instances": [[1.0, 2.0]]}),
    "a missing column": (JSON, {"dataframe_records": [{"age": 1.0}]}),
    "a word for a number": (JSON, {"dataframe_records": [{"age": "old", "spo2": 2.0}]}),
    "a split of the wrong shape": (JSON, {"dataframe_split": {"columns": ["age"], "data": [[1, 2]]}}),
    "records that are none": (JSON, {"dataframe_records": "x"}),
    "a parameter of the wrong type": (JSON, {"inputs": TABLE.to_dict(orient="list"), "params": {"threshold": "x"}}),
    "parameters that are a list": (JSON, {"inputs": TABLE.to_dict(orient="list"), "params": [1]}),
    "a chat": (JSON, {"messages": [{"role": "user", "content": "hello"}]}),
    "a ragged CSV": ("text/csv", b"age,spo2\n1,2\n1,2,3,4\n"),
    "an empty CSV": ("text/csv", b""),
    "a CSV that is not UTF-8": ("text/csv", b"age,spo2\n\xff,2\n"),
    "no parquet": ("application/vnd.apache.parquet", b"PAR1"),
    "another media type": ("text/xml", b"<a/>"),
    "another charset": ("application/json; charset=latin-1", b"{}"),
    "a media type parameter": ("application/json; version=2", b"{}"),
}


def _post(client: httpx.Client, content_type: str | None, body: object) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": content_type} if content_type else {}
    return client.post("/invocations", content=content, headers=headers)


@pytest.mark.parametrize("name", GOOD)
def test_every_request_format_is_answered_as_mlflow_answers_it(
    name: str, ridge: Address, reference: httpx.Client
) -> None:
    """Status, body and media type are the same, byte for byte."""
    ours, theirs = _post(ridge.client, *GOOD[name]), _post(reference, *GOOD[name])
    assert theirs.status_code == 200
    assert (ours.status_code, ours.content) == (theirs.status_code, theirs.content)
    assert ours.headers["content-type"] == theirs.headers["content-type"]


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_refused_as_mlflow_refuses_it(name: str, ridge: Address, reference: httpx.Client) -> None:
    """Status and body are the same, but for MLflow's stack traces, and for its refusals that are plain text."""
    ours, theirs = _post(ridge.client, *BAD[name]), _post(reference, *BAD[name])
    assert theirs.status_code >= 400
    assert ours.status_code == theirs.status_code
    assert ours.headers["content-type"] == JSON
    if theirs.headers["content-type"] == JSON:
        expected = theirs.json()
        expected.pop("stack_trace", None)
    else:
        expected = {"error_code": "BAD_REQUEST", "message": theirs.text}
    assert ours.json() == expected
    assert "Traceback" not in ours.text


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/ping"),
        ("GET", "/health"),
        ("GET", "/version"),
        ("GET", "/invocations"),
        ("GET", "/nothing"),
        ("POST", "/ping"),
    ],
)
def test_the_other_paths_answer_as_mlflow_answers_them(
    method: str, path: str, ridge: Address, reference: httpx.Client
) -> None:
    """Health, version, unknown paths and wrong methods."""
    ours, theirs = ridge.client.request(method, path), reference.request(method, path)
    assert (ours.status_code, ours.content) == (theirs.status_code, theirs.content)
    assert ours.headers["content-type"] == theirs.headers["content-type"]


def test_infinities_come_back_as_null_where_mlflow_sends_invalid_json(ridge: Address, reference: httpx.Client) -> None:
    """A documented difference: what MLflow sends here is not JSON."""
    request = {"dataframe_records": [{"age": 1.7e308, "spo2": 1.0}, {"age": 1.0, "spo2": 1.0}]}
    theirs = _post(reference, JSON, request)
    assert "Infinity" in theirs.text
    ours = _post(ridge.client, JSON, request).json()["predictions"]
    assert ours == [None, theirs.json()["predictions"][1]]


def test_a_request_without_content_type_is_refused_where_mlflow_fails(ridge: Address, reference: httpx.Client) -> None:
    """A documented difference: 415 with a sentence instead of 500."""
    assert _post(reference, None, b"{}").status_code == 500
    answer = _post(ridge.client, None, b"{}")
    assert answer.status_code == 415
    assert answer.json()["message"].startswith("cannot read the request: ")


def test_a_model_of_another_kind_says_that_predict_is_not_for_it(ridge: Address) -> None:
    """A scikit-learn model has no files to look at."""
    answer = ridge.client.post("/predict", files={"metadata": (None, "{}"), "aceite": b"x"})
    assert answer.status_code == 501
    assert "mlflow.sklearn" in answer.json()["message"]
