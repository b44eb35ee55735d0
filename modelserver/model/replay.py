"""Proves a model before it serves: answers the example that was logged with it, as a request would be answered."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelserver.answer import JSON
from modelserver.errors import CannotServeError, describe, one_line
from modelserver.model.diagnosis import ContractError, Diagnosis, File, Result, checked
from modelserver.model.invocations import Scoring

# Another processor or library build rounds differently, by far less than what would change a diagnosis.
RELATIVE_TOLERANCE = 1e-3
ABSOLUTE_TOLERANCE = 1e-5
_SERVING_EXAMPLE = "serving_input_example.json"
_AGAIN = "correct the model and register a new version"


@dataclass(frozen=True)
class _Example:
    """The logged request and the answer that it had."""

    metadata: dict[str, Any]
    files: dict[str, File]
    answer: Result


def replay(model_dir: Path, scoring: Scoring, diagnosis: Diagnosis) -> str:
    """Replays what was logged with the model; returns what was proved, raises CannotServeError when it failed.

    Blocks: call it in the kind of thread that will answer requests.
    """
    if (model_dir / "artifacts" / "replay").is_dir():
        _replay_diagnosis(_read(model_dir / "artifacts" / "replay"), diagnosis)
        return "its logged example was answered as logged"
    request = _serving_example(model_dir, scoring.example_information)
    if request is None:
        return "it has no logged example to replay"
    _replay_invocations(request, scoring)
    return "its logged example was answered"


def _replay_diagnosis(example: _Example, diagnosis: Diagnosis) -> None:
    try:
        answer = diagnosis.call(example.metadata, example.files)
    except ContractError as error:
        raise CannotServeError(f"{error}; {_AGAIN}") from error
    except (Exception, SystemExit) as error:
        raise CannotServeError(
            f"cannot answer the logged example: the model raised {describe(error)}; {_AGAIN}"
        ) from error
    difference = _difference(answer, example.answer)
    if difference:
        raise CannotServeError(
            f"cannot trust the model: its logged example was answered with {difference}; "
            "pin the requirements it was trained with, or log the example again, and register a new version"
        )


def _difference(answer: Result, example: Result) -> str | None:
    """The first difference between the answer and the logged one, as part of a sentence."""
    if answer.diagnosis != example.diagnosis:
        return f"diagnosis {answer.diagnosis!r} where {example.diagnosis!r} was logged"
    if len(answer.output) != len(example.output):
        return f"{len(answer.output)} numbers where {len(example.output)} were logged"
    for index, (got, wanted) in enumerate(zip(answer.output, example.output, strict=True)):
        if got is None or wanted is None:
            if got is not wanted:
                return f"output[{index}] = {got} where {wanted} was logged"
        elif not math.isclose(got, wanted, rel_tol=RELATIVE_TOLERANCE, abs_tol=ABSOLUTE_TOLERANCE):
            return f"output[{index}] = {got} where {wanted} was logged"
    return None


def _read(directory: Path) -> _Example:
    """The example as the pipeline logged it."""
    try:
        request = json.loads((directory / "request.json").read_bytes())
        response = json.loads((directory / "response.json").read_bytes())
        if request["schema"] != 1:
            raise ValueError(f"request.json has schema {request['schema']!r}, this server knows 1")
        files = {}
        for name, part in request["parts"].items():
            if Path(part["file"]).name != part["file"]:
                raise ValueError(f"part {name!r} names a file outside of its directory")
            files[name] = File(part["filename"], bytearray((directory / part["file"]).read_bytes()))
        output = [math.nan if item is None else item for item in response["output"]]
        return _Example(dict(request["metadata"]), files, checked((output, response["diagnosis"])))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ContractError) as error:
        raise CannotServeError(
            f"cannot read the logged example: {one_line(f'{type(error).__name__}: {error}')}; "
            "log the model again with this product's pipeline.py"
        ) from error


def _replay_invocations(request: bytes, scoring: Scoring) -> None:
    try:
        answer = scoring.call(request, JSON)
    except (Exception, SystemExit) as error:
        raise CannotServeError(f"cannot answer the logged example: {describe(error)}; {_AGAIN}") from error
    if answer.status != 200:
        raise CannotServeError(f"cannot answer the logged example: {one_line(answer.body)}; {_AGAIN}")


def _serving_example(model_dir: Path, information: Mapping[str, Any]) -> bytes | None:
    """MLflow's own logged example as a body of /invocations, or None when the model has none that can be one.

    `information`: what the MLmodel file says of it.
    """
    places = (information.get("serving_input_path"), _SERVING_EXAMPLE)
    request = next((name for name in places if name and Path(name).name == name and (model_dir / name).is_file()), None)
    example = model_dir / "input_example.json"
    if request == _SERVING_EXAMPLE or not example.is_file():
        return None if request is None else (model_dir / request).read_bytes()
    # MLflow before 2.16 logs the example alone, or names the request otherwise.
    try:
        content = json.loads(example.read_bytes())
    except ValueError as error:
        raise CannotServeError(f"cannot read the logged example: {one_line(str(error))}; {_AGAIN}") from error
    if isinstance(content, dict) and content.keys() == {"data"}:
        return None  # of lists of lists it infers a signature that refuses them
    if request is not None:
        return (model_dir / request).read_bytes()
    made = _request(content, with_params=information.get("params") in ("true", True))
    return None if made is None else json.dumps(made).encode()


def _request(content: Any, with_params: bool) -> dict[str, Any] | None:
    """The request that is made of an example which was logged alone, a table or tensors.

    `with_params`: MLflow has put what it would have written without them below another `inputs`.
    """
    if not isinstance(content, dict):
        return None
    if with_params and content.keys() == {"inputs", "params"}:
        inner, params = content["inputs"], {"params": content["params"]}
        if isinstance(inner, dict) and "data" in inner and inner.keys() <= {"columns", "data", "index"}:
            return {"dataframe_split": inner, **params}
        return {**inner, **params} if isinstance(inner, dict) and inner.keys() == {"inputs"} else content
    if {"columns", "data"} <= content.keys():
        return {"dataframe_split": content}
    return content if "inputs" in content or "instances" in content else None
