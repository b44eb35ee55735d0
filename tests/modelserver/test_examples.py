"""The examples that each MLflow logs with a model are replayed as the requests that it meant."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import mlflow
import numpy as np
import pytest
from mlflow.models import ModelSignature
from mlflow.pyfunc.model import PythonModel
from mlflow.types.schema import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec

from modelserver.errors import CannotServeError
from modelserver.model.diagnosis import DiagnosisModel
from modelserver.model.error_log import ModelErrorLog
from modelserver.model.invocations import ScoringModel
from modelserver.model.replay import replay

INPUT = "input_example.json"
PAYLOAD = "serving_input_payload.json"
ANSWERED = "its logged example was answered"
NOTHING = "it has no logged example to replay"
PARAMS = ParamSchema([ParamSpec("factor", DataType.long, 1)])
COLUMN = ModelSignature(inputs=Schema([ColSpec(DataType.long, "age")]), params=PARAMS)
TENSOR = ModelSignature(inputs=Schema([TensorSpec(np.dtype("float64"), (-1, 2))]), params=PARAMS)
TENSORS = ModelSignature(
    inputs=Schema([TensorSpec(np.dtype("float64"), (-1,), "a"), TensorSpec(np.dtype("float64"), (-1, 1), "b")]),
    params=PARAMS,
)
TABLE = {"columns": ["age"], "data": [[23]]}
NAMED = {"a": [1.0, 2.0], "b": [[3.0], [4.0]]}
SPLIT = {"type": "dataframe", "pandas_orient": "split", "artifact_path": INPUT}
SERVING = {"type": "ndarray", "format": "tf-serving", "artifact_path": INPUT}
WITH = {"params": "true"}


class Noting(PythonModel):
    """Notes what it is given."""

    seen: ClassVar[list[Any]] = []

    # MLflow takes hints for a schema to enforce.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ARG002 - see above
        """One number."""
        values = model_input.to_dict("list") if hasattr(model_input, "to_dict") else model_input
        self.seen.append((_plain(values), params))
        return [1]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value.tolist() if hasattr(value, "tolist") else value


def _case(signature: ModelSignature, seen: Any, factor: int, information: object, **files: Any) -> tuple[Any, ...]:
    return signature, (seen, {"factor": factor}), information, files


# What MLflow 2.9, 2.13 and 2.15 write, and what a model of theirs has to be given.
AGE, ROW = {"age": [23]}, [[1.0, 2.0]]
EXAMPLES: dict[str, tuple[Any, ...]] = {
    "a table": _case(COLUMN, AGE, 1, SPLIT, **{INPUT: TABLE}),
    "a table with params": _case(COLUMN, AGE, 2, SPLIT | WITH, **{INPUT: {"inputs": TABLE, "params": {"factor": 2}}}),
    "a tensor": _case(TENSOR, ROW, 1, SERVING, **{INPUT: {"inputs": ROW}}),
    "a tensor with params": _case(
        TENSOR, ROW, 2, SERVING | WITH, **{INPUT: {"inputs": {"inputs": ROW}, "params": {"factor": 2}}}
    ),
    "tensors with params": _case(
        TENSORS, NAMED, 2, SERVING | WITH, **{INPUT: {"inputs": {"inputs": NAMED}, "params": {"factor": 2}}}
    ),
    "a request under another name": _case(
        COLUMN,
        AGE,
        2,
        SPLIT | WITH | {"serving_input_path": PAYLOAD},
        **{
            INPUT: {"inputs": TABLE, "params": {"factor": 2}},
            PAYLOAD: {"dataframe_split": TABLE, "params": {"factor": 2}},
        },
    ),
    "a request that is named and gone": _case(
        COLUMN,
        AGE,
        2,
        SPLIT | WITH | {"serving_input_path": PAYLOAD},
        **{INPUT: {"inputs": TABLE, "params": {"factor": 2}}},
    ),
    "a request that is named elsewhere": _case(
        COLUMN, AGE, 1, SPLIT | {"serving_input_path": "../elsewhere/MLmodel"}, **{INPUT: TABLE}
    ),
    "nothing said of it": _case(COLUMN, AGE, 1, None, **{INPUT: TABLE}),
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A loaded model; each test gives it a signature and an example."""
    place = tmp_path_factory.mktemp("noting") / "m"
    mlflow.pyfunc.save_model(place, python_model=Noting(), signature=COLUMN, pip_requirements=[])
    return mlflow.pyfunc.load_model(str(place))


def _replayed(model: Any, place: Path, signature: ModelSignature, information: object, files: dict[str, Any]) -> str:
    model.metadata.signature = signature
    model.metadata.saved_input_example_info = information
    for name, content in files.items():
        (place / name).write_text(json.dumps(content))
    Noting.seen.clear()
    error_log = ModelErrorLog()
    return replay(place, ScoringModel(model, error_log), DiagnosisModel(model, error_log))


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_of_an_older_mlflow_is_the_request_that_it_meant(name: str, model: Any, tmp_path: Path) -> None:
    """The model is given its values, and its params."""
    signature, seen, information, files = EXAMPLES[name]
    assert _replayed(model, tmp_path, signature, information, files) == ANSWERED
    assert Noting.seen == [seen]


def test_bare_values_are_no_request(model: Any, tmp_path: Path) -> None:
    """Nobody knows of which columns; a release that has nothing else is served unproved, as it always was."""
    files = {INPUT: {"data": [[1, 2]]}, PAYLOAD: {"dataframe_split": {"data": [[1, 2]]}}}
    assert _replayed(model, tmp_path, COLUMN, SPLIT | {"serving_input_path": PAYLOAD}, files) == NOTHING


def test_an_example_with_params_that_the_model_does_not_take_is_refused(model: Any, tmp_path: Path) -> None:
    """The params are part of the proof."""
    files = {INPUT: {"inputs": TABLE, "params": {"factor": "x"}}}
    with pytest.raises(CannotServeError, match=r"^cannot answer the logged example: .*factor"):
        _replayed(model, tmp_path, COLUMN, SPLIT | WITH, files)
