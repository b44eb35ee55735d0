"""Models of many kinds whose predict never fails: whatever is wrong with an answer of theirs, they did not do it."""

from __future__ import annotations

from pathlib import Path

import numpy
from mlflow import pyfunc
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec

_CLASS = '''"""A model that answers whatever it is given."""

import datetime
from typing import Any

import mlflow
import numpy
import pandas
import pydantic
from mlflow.pyfunc.model import PythonModel


class Record(pydantic.BaseModel):
    name: str
    age: int | None = None
    when: list[datetime.datetime] = []

    @pydantic.field_validator("name", mode="before")
    @classmethod
    def _plain(cls, name):
        return name.strip()


class Model(PythonModel):
    def predict(self, context, model_input{hint}, params=None):
        return {answer}


mlflow.models.set_model(Model())
'''
_FLAVOUR = '''"""A flavour of somebody's own."""


class Implementation:
    def predict(self, data):
        return [0.5]


def _load_pyfunc(path):
    return Implementation()
'''
_COLUMNS = Schema([ColSpec(kind, kind.name, required=kind is not DataType.binary) for kind in DataType])
_PARAMS = ParamSchema([ParamSpec("factor", DataType.double, 1.0), ParamSpec("labels", DataType.string, ["a"], (-1,))])
_SIGNATURES = {
    "columns": ModelSignature(_COLUMNS, params=_PARAMS),
    "one string column": ModelSignature(Schema([ColSpec("string", "c")])),
    "table": ModelSignature(Schema([ColSpec("double", "age"), ColSpec("double", "spo2")])),
    "tensor": ModelSignature(Schema([TensorSpec(numpy.dtype("float64"), (-1, 2))])),
    "tensors": ModelSignature(
        Schema([TensorSpec(numpy.dtype("float32"), (-1, 2), "a"), TensorSpec(numpy.dtype("int64"), (-1,), "b")])
    ),
    "nothing": None,
}
_HINTS = {
    "int": "list[int]",
    "str": "list[str]",
    "bytes": "list[bytes]",
    "datetime": "list[datetime.datetime]",
    "pydantic": "list[Record]",
    "dict": "list[dict[str, Any]]",
    "dict of lists": "list[dict[str, list[float]]]",
}
TAKES_FILES = "nothing"
KINDS = (*_SIGNATURES, *_HINTS)
_ROW = {"boolean": True, "integer": 1, "long": 2, "float": 0.5, "double": 1.5, "string": "x", "datetime": "2020-01-01"}
RIGHT: dict[str, object] = {
    "columns": {"dataframe_records": [_ROW], "params": {"factor": 2.0, "labels": ["b"]}},
    "one string column": {"dataframe_split": {"columns": ["c"], "data": [["a"], ["b"]]}},
    "table": {"dataframe_split": {"columns": ["age", "spo2"], "data": [[1.0, 0.5]], "index": [0]}},
    "tensor": {"inputs": [[1.0, 2.0], [3.0, 4.0]]},
    "tensors": {"instances": [{"a": [1.0, 2.0], "b": 1}, {"a": [3.0, 4.0], "b": 2}]},
    "nothing": {"inputs": {"a": [1, 2], "b": ["x", "y"]}},
    "int": {"inputs": [1, 2]},
    "str": {"inputs": ["x", "y"]},
    "bytes": {"inputs": ["YWJj"]},
    "datetime": {"inputs": ["2020-01-01T10:00:00"]},
    "pydantic": {"inputs": [{"name": "Ana", "age": 3, "when": []}]},
    "dict": {"inputs": [{"a": 1, "b": [{"c": None}]}]},
    "dict of lists": {"inputs": [{"a": [1.0, 2.0]}]},
}
"""A request that each takes."""


def save(kind: str, directory: Path) -> Path:
    """A model of `kind` below `directory`."""
    directory.mkdir(parents=True)
    code, model = directory / "written.py", directory / "model"
    if kind == "columns":
        code.write_text(_FLAVOUR)
        pyfunc.save_model(
            model, loader_module="written", code_paths=[str(code)], signature=_SIGNATURES[kind], pip_requirements=[]
        )
        return model
    hint = f": {_HINTS[kind]}" if kind in _HINTS else ""
    answer = '[0.5], "negative"' if kind == TAKES_FILES else "[0.5]"
    code.write_text(_CLASS.replace("{hint}", hint).replace("{answer}", answer))
    pyfunc.save_model(model, python_model=str(code), signature=_SIGNATURES.get(kind), pip_requirements=["mlflow"])
    return model
