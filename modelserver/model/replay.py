"""Proves a model before it serves: answers the example that was logged with it, as a request would be answered."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelserver.answer import JSON
from modelserver.errors import CannotServeError, describe_error, one_line
from modelserver.model.diagnosis import ContractError, DiagnosisModel, DiagnosisResult, UploadedFile, check_result
from modelserver.model.invocations import ScoringModel
from modelserver.model.logged_request import CORRECT_IT, logged_request

# Another processor or library build rounds differently, by far less than what would change a diagnosis.
RELATIVE_TOLERANCE = 1e-3
ABSOLUTE_TOLERANCE = 1e-5
_SCHEMA = 1


@dataclass(frozen=True)
class _LoggedExample:
    """The logged request and the answer that it had."""

    metadata: dict[str, Any]
    files: dict[str, UploadedFile]
    answer: DiagnosisResult


def replay(model_dir: Path, scoring: ScoringModel, diagnosis: DiagnosisModel) -> str:
    """Replays what was logged with the model; returns what was proved, as part of a sentence.

    Raises CannotServeError when the model does not answer as it did. Blocks: call it in the kind of thread that will
    answer requests.
    """
    logged_diagnosis = model_dir / "artifacts" / "replay"
    if logged_diagnosis.is_dir():
        _replay_diagnosis(_read_example(logged_diagnosis), diagnosis)
        return "its logged example was answered as logged"
    request = logged_request(model_dir, scoring.example_information)
    if request is None:
        return "it has no logged example to replay"
    _replay_invocations(request, scoring)
    return "its logged example was answered"


def _replay_diagnosis(example: _LoggedExample, diagnosis: DiagnosisModel) -> None:
    try:
        answer = diagnosis.predict(example.metadata, example.files)
    except ContractError as error:
        raise CannotServeError(f"{error}; {CORRECT_IT}") from error
    except (Exception, SystemExit) as error:
        raise CannotServeError(
            f"cannot answer the logged example: the model raised {describe_error(error)}; {CORRECT_IT}"
        ) from error
    difference = _difference(answer, example.answer)
    if difference:
        raise CannotServeError(
            f"cannot trust the model: its logged example was answered with {difference}; "
            "pin the requirements it was trained with, or log the example again, and register a new version"
        )


def _difference(answer: DiagnosisResult, logged: DiagnosisResult) -> str | None:
    """The first difference between the answer and the logged one, as part of a sentence; None when there is none."""
    if answer.diagnosis != logged.diagnosis:
        return f"diagnosis {answer.diagnosis!r} where {logged.diagnosis!r} was logged"
    if len(answer.output) != len(logged.output):
        return f"{len(answer.output)} numbers where {len(logged.output)} were logged"
    for index, (number, logged_number) in enumerate(zip(answer.output, logged.output, strict=True)):
        if not _is_same_number(number, logged_number):
            return f"output[{index}] = {number} where {logged_number} was logged"
    return None


def _is_same_number(number: float | None, logged: float | None) -> bool:
    """Whether they differ by rounding only; None, which stands for what is not finite, equals None only."""
    if number is None or logged is None:
        return number is logged
    return math.isclose(number, logged, rel_tol=RELATIVE_TOLERANCE, abs_tol=ABSOLUTE_TOLERANCE)


def _read_example(directory: Path) -> _LoggedExample:
    """The example as the pipeline logged it. Raises CannotServeError."""
    try:
        request = json.loads((directory / "request.json").read_bytes())
        response = json.loads((directory / "response.json").read_bytes())
        if request["schema"] != _SCHEMA:
            raise ValueError(f"request.json has schema {request['schema']!r}, this server knows {_SCHEMA}")
        files = {name: _read_part(directory, name, part) for name, part in request["parts"].items()}
        # JSON has no NaN: the pipeline logs null for it, as this server answers.
        output = [math.nan if item is None else item for item in response["output"]]
        answer = check_result((output, response["diagnosis"]))
        return _LoggedExample(dict(request["metadata"]), files, answer)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ContractError) as error:
        raise CannotServeError(
            f"cannot read the logged example: {one_line(f'{type(error).__name__}: {error}')}; "
            "log the model again with this product's pipeline.py"
        ) from error


def _read_part(directory: Path, name: str, part: Mapping[str, str]) -> UploadedFile:
    """A file of the example. Raises ValueError, OSError, KeyError, TypeError."""
    # The model's author wrote it: a path could name any file that this process may read.
    if Path(part["file"]).name != part["file"]:
        raise ValueError(f"part {name!r} names a file outside of its directory")
    return UploadedFile(part["filename"], bytearray((directory / part["file"]).read_bytes()))


def _replay_invocations(request: bytes, scoring: ScoringModel) -> None:
    try:
        answer = scoring.score(request, JSON)
    except (Exception, SystemExit) as error:
        raise CannotServeError(f"cannot answer the logged example: {describe_error(error)}; {CORRECT_IT}") from error
    if answer.status != 200:
        raise CannotServeError(f"cannot answer the logged example: {one_line(answer.body)}; {CORRECT_IT}")
