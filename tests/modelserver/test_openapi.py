"""Requests made up from the server's own OpenAPI are answered as that says, and never with an error of the server."""

# ruff: noqa: T201 - the figures are reported

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis import Case
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from modelserver.http import api_description
from tests.modelserver.conftest import MAX_BODY, Address

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]
RELEASE = "echo@1.0badcafe"
schema = schemathesis.openapi.from_dict(api_description.openapi(RELEASE, MAX_BODY))
bounded = settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def outcome() -> Iterator[Counter[str]]:
    """What was answered, printed in the end."""
    counted: Counter[str] = Counter()
    yield counted
    print(f"\nrequests made up from the OpenAPI: {counted.total()}, answered {dict(counted)}")


def test_the_server_describes_itself_as_assumed_here(echo: Address, ridge: Address) -> None:
    """Both kinds of model have the same endpoints."""
    for server in (echo, ridge):
        assert server.client.get("/openapi.json").json() == schema.raw_schema


@schema.parametrize()
@bounded
def test_a_diagnosis_model_answers_as_described(case: Case[Any], echo: Address, outcome: Counter[str]) -> None:
    """Whatever fits the description, and what nearly does."""
    _ask(case, echo, outcome)


@pytest.mark.exhaustive
@schema.include(path="/invocations").parametrize()
@bounded
def test_a_model_of_tables_answers_as_described(case: Case[Any], ridge: Address, outcome: Counter[str]) -> None:
    """The same with another kind of model."""
    _ask(case, ridge, outcome)


def _ask(case: Case[Any], server: Address, outcome: Counter[str]) -> None:
    answer = case.call(base_url=str(server.client.base_url))
    outcome[f"{case.operation.path} {answer.status_code}"] += 1
    case.validate_response(answer, checks=CHECKS)
