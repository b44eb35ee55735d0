"""The contract of a diagnosis model: what its predict is given, and what it must give back."""

from __future__ import annotations

import json
import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modelserver.answer import Answer, error
from modelserver.errors import message, one_line
from modelserver.model.error_log import Complaints

DIAGNOSES = ("positive", "negative", "inconclusive")
# The flavours of MLflow that hand to the model's predict whatever comes.
_TAKE_ANYTHING = ("mlflow.pyfunc.model", "mlflow.pyfunc.loaders.code_model")
_WANTED = f"(a list of numbers, one of {', '.join(DIAGNOSES)})"


class ContractError(Exception):
    """The model answered, but not with what was agreed."""


@dataclass(frozen=True)
class Result:
    """A checked answer; what is not finite has become None."""

    output: list[float | None]
    diagnosis: str


@dataclass(frozen=True)
class File:
    """One file of a request, exactly as it was sent."""

    filename: str
    content: bytearray


class Diagnosis:
    """One loaded model behind the contract of /predict."""

    def __init__(self, model: Any, complaints: Complaints) -> None:
        """Notes whether `model` is of a kind that can keep the contract; what it raises goes to `complaints`."""
        self._model = model
        self._complaints = complaints
        self._refusal = _refusal(model.metadata)
        # Hints may let metadata and files through although the model is for something else. Its example tells.
        self._hinted = _hinted(model.metadata)
        self._answered = False

    def answer(self, metadata: bytes, files: Mapping[str, File]) -> Answer:
        """The answer to one request. Blocks: call it in a worker thread. Lets through what the model raises."""
        try:
            parsed = json.loads(metadata)
        except (ValueError, RecursionError) as failure:
            return error(400, "BAD_REQUEST", f"cannot read part 'metadata': it is not JSON ({one_line(str(failure))})")
        if not isinstance(parsed, dict):
            return error(400, "BAD_REQUEST", "cannot read part 'metadata': it is not a JSON object")
        if self._refusal is not None and not self._answered:
            return _not_for_files(self._refusal)
        try:
            result = self.call(parsed, files)
            return Answer(200, json.dumps({"output": result.output, "diagnosis": result.diagnosis}))
        except Exception as failure:
            if self._hinted and not self._answered:
                return _not_for_files(f"does not take metadata and files ({message(failure)})")
            if not isinstance(failure, ContractError):
                raise
            self._complaints.refused("/predict", failure)
            return error(500, "INTERNAL_ERROR", str(failure), failed=True)

    def call(self, metadata: dict[str, Any], files: Mapping[str, File]) -> Result:
        """What the model answers, checked; lets through what it raises."""
        parts = {name: {"content": file.content, "filename": file.filename} for name, file in files.items()}
        result = checked(self._model.predict([metadata, parts]))
        self._answered = True
        return result


def _refusal(metadata: Any) -> str | None:
    """Why a model of this `metadata`, its MLmodel file, can do nothing with what /predict hands it."""
    loader = metadata.flavors.get("python_function", {}).get("loader_module", "")
    # MLflow's other flavours take tables or tensors, whatever a list of dictionaries would do to them.
    if loader.startswith("mlflow.") and loader not in _TAKE_ANYTHING:
        return f"is not a PythonModel but one of {loader}"
    if metadata.get_input_schema() is not None and not _hinted(metadata):
        return "has a signature of tables or tensors, not of files"
    return None


def _hinted(metadata: Any) -> bool:
    """Whether the signature was made from the type hints of its predict, which MLflow before 2.20 does not do."""
    return bool(getattr(metadata, "_is_signature_from_type_hint", bool)())


def _not_for_files(why: str) -> Answer:
    return error(501, "NOT_IMPLEMENTED", f"cannot answer /predict: this model {why}; use /invocations")


def checked(result: object) -> Result:
    """`result` as what /predict answers, or ContractError with what came back and what was wanted."""
    if not isinstance(result, (tuple, list)) or len(result) != 2:
        raise ContractError(f"cannot use the model's answer: predict returned {_shown(result)}; it must be {_WANTED}")
    output, diagnosis = result
    numbers_ = output.tolist() if hasattr(output, "tolist") else output
    if not isinstance(numbers_, (list, tuple)):
        raise ContractError(
            f"cannot use the model's answer: its output is {_shown(output)}; predict must return {_WANTED}"
        )
    if not isinstance(diagnosis, str) or diagnosis not in DIAGNOSES:
        raise ContractError(
            f"cannot use the model's answer: its diagnosis is {_shown(diagnosis)}; predict must return {_WANTED}"
        )
    # Looked up, so that a numpy string or an enumeration becomes the plain word.
    return Result([_number(item) for item in numbers_], DIAGNOSES[DIAGNOSES.index(diagnosis)])


def _number(item: object) -> float | None:
    """A number of the output as JSON knows it; numpy's scalars (and one-element arrays) are welcome."""
    plain = item.item() if hasattr(item, "item") and getattr(item, "size", 1) == 1 else item
    if isinstance(plain, bool) or not isinstance(plain, numbers.Real):
        raise ContractError(
            f"cannot use the model's answer: its output contains {_shown(item)}; predict must return {_WANTED}"
        )
    if isinstance(plain, int):
        return plain
    return float(plain) if math.isfinite(plain) else None


def _shown(value: object) -> str:
    """`value` for a sentence: its type and a glimpse of it."""
    try:
        glimpse = one_line(repr(value))
    except Exception as failure:  # noqa: BLE001 - foreign code, of whatever the model answered
        glimpse = f"{type(failure).__name__} in its __repr__"
    return f"a {type(value).__name__} ({glimpse if len(glimpse) <= 80 else glimpse[:79] + '…'})"
