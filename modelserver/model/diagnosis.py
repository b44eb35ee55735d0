"""The contract of a diagnosis model: what its predict is given, and what it must give back."""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelserver.answer import HttpAnswer, error_answer
from modelserver.errors import error_message, one_line
from modelserver.model.error_log import ModelErrorLog

DIAGNOSES = ("positive", "negative", "inconclusive")
# The flavours of MLflow that hand to the model's predict whatever comes.
_TAKE_ANYTHING = ("mlflow.pyfunc.model", "mlflow.pyfunc.loaders.code_model")
_CONTRACT = f"(a list of numbers, one of {', '.join(DIAGNOSES)})"
_MAX_GLIMPSE = 80


class ContractError(Exception):
    """The model answered, but not with what was agreed; the message is a sentence."""


@dataclass(frozen=True)
class DiagnosisResult:
    """A checked answer; what is not finite has become None."""

    output: list[float | None]
    diagnosis: str


@dataclass(frozen=True)
class UploadedFile:
    """One file of a request, exactly as it was sent."""

    filename: str
    content: bytearray


class DiagnosisModel:
    """One loaded model behind the contract of /predict."""

    def __init__(self, model: Any, error_log: ModelErrorLog) -> None:
        """Notes whether `model` is of a kind that can keep the contract; what it gets wrong goes to `error_log`."""
        self._model = model
        self._error_log = error_log
        self._why_unsuited = _why_unsuited(model.metadata)
        # Type hints may let metadata and files through although the model is for something else. Its example tells.
        self._has_type_hints = has_type_hints(model.metadata)
        self._has_answered = False

    @property
    def takes_files(self) -> bool:
        """Whether the model is of a kind that can take metadata and files."""
        return self._why_unsuited is None

    def answer(self, metadata: bytes, files: Mapping[str, UploadedFile]) -> HttpAnswer:
        """The answer to one request. Blocks: call it in a worker thread. Lets through what the model raises."""
        try:
            parsed = json.loads(metadata)
        except (ValueError, RecursionError) as failure:
            return _bad_metadata(f"it is not JSON ({one_line(str(failure))})")
        if not isinstance(parsed, dict):
            return _bad_metadata("it is not a JSON object")
        if self._why_unsuited is not None and not self._has_answered:
            return _not_implemented(self._why_unsuited)
        try:
            result = self.predict(parsed, files)
        except Exception as failure:
            answer = self._answer_failure(failure)
            if answer is None:
                raise
            return answer
        return HttpAnswer(200, json.dumps({"output": result.output, "diagnosis": result.diagnosis}))

    def _answer_failure(self, failure: Exception) -> HttpAnswer | None:
        """The answer where the contract says what it is; None where the model raised for a reason of its own."""
        # What never took metadata and files, its example included, is no diagnosis model: that is nobody's failure.
        if self._has_type_hints and not self._has_answered:
            return _not_implemented(f"does not take metadata and files ({error_message(failure)})")
        if not isinstance(failure, ContractError):
            return None
        self._error_log.answer_refused("/predict", failure)
        return error_answer(500, "INTERNAL_ERROR", str(failure), release_failed=True)

    def predict(self, metadata: dict[str, Any], files: Mapping[str, UploadedFile]) -> DiagnosisResult:
        """What the model answers, checked. Raises ContractError; lets through what the model raises."""
        parts = {name: {"content": file.content, "filename": file.filename} for name, file in files.items()}
        result = check_result(self._model.predict([metadata, parts]))
        self._has_answered = True
        return result


def _bad_metadata(why: str) -> HttpAnswer:
    return error_answer(400, "BAD_REQUEST", f"cannot read part 'metadata': {why}")


def _not_implemented(why: str) -> HttpAnswer:
    return error_answer(501, "NOT_IMPLEMENTED", f"cannot answer /predict: this model {why}; use /invocations")


def _why_unsuited(metadata: Any) -> str | None:
    """Why a model of this `metadata`, its MLmodel file, can do nothing with what /predict hands it."""
    loader = metadata.flavors.get("python_function", {}).get("loader_module", "")
    # MLflow's other flavours take tables or tensors, whatever a list of dictionaries would do to them.
    if loader.startswith("mlflow.") and loader not in _TAKE_ANYTHING:
        return f"is not a PythonModel but one of {loader}"
    if metadata.get_input_schema() is not None and not has_type_hints(metadata):
        return "has a signature of tables or tensors, not of files"
    return None


def has_type_hints(metadata: Any) -> bool:
    """Whether the signature was made from the type hints of the model's predict."""
    # MLflow before 2.20 does not do that, and has no such method.
    return bool(getattr(metadata, "_is_signature_from_type_hint", bool)())


def check_result(result: object) -> DiagnosisResult:
    """`result` as what /predict answers. Raises ContractError with what came back and what was agreed."""
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise ContractError(
            f"cannot use the model's answer: predict returned {_glimpse(result)}; it must be {_CONTRACT}"
        )
    output, diagnosis = result
    items = output.tolist() if hasattr(output, "tolist") else output
    if not isinstance(items, (list, tuple)):
        raise ContractError(
            f"cannot use the model's answer: its output is {_glimpse(output)}; predict must return {_CONTRACT}"
        )
    if not isinstance(diagnosis, str) or diagnosis not in DIAGNOSES:
        raise ContractError(
            f"cannot use the model's answer: its diagnosis is {_glimpse(diagnosis)}; predict must return {_CONTRACT}"
        )
    # Looked up, so that a numpy string or an enumeration becomes the plain word.
    return DiagnosisResult([_json_number(item) for item in items], DIAGNOSES[DIAGNOSES.index(diagnosis)])


def _json_number(item: Any) -> float | None:
    """A number of the output as JSON knows it; numpy's scalars (and one-element arrays) are welcome."""
    is_scalar = hasattr(item, "item") and getattr(item, "size", 1) == 1
    number = item.item() if is_scalar else item
    # Python counts True as a number; a model that answers it means something else.
    if isinstance(number, bool) or not isinstance(number, numbers.Real):
        raise ContractError(
            f"cannot use the model's answer: its output contains {_glimpse(item)}; predict must return {_CONTRACT}"
        )
    if isinstance(number, int):
        return number
    return float(number) if math.isfinite(number) else None


def _glimpse(value: object) -> str:
    """`value` for a sentence: its type and the beginning of how it shows itself."""
    try:
        shown = one_line(repr(value))
    except Exception as failure:  # noqa: BLE001 - foreign code, of whatever the model answered
        shown = f"{type(failure).__name__} in its __repr__"
    if len(shown) > _MAX_GLIMPSE:
        shown = f"{shown[: _MAX_GLIMPSE - 1]}…"
    return f"a {type(value).__name__} ({shown})"
