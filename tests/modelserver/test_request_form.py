"""What a person can send to a model is worked out of what its author logged, however little or odd that is."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import pytest
from mlflow.types.schema import Array, ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec

from modelserver.model.request_form import MAX_SHOWN_BYTES, Column, FormKind, RequestForm, request_form
from tests.modelserver.conftest import EXAMPLE_METADATA

SPLIT: dict[str, Any] = {"columns": ["b", "a"], "data": [["x", 1.5], [None, 2.5]]}
PLAIN = Schema([ColSpec("double", "a"), ColSpec("string", "b", required=False)])


def metadata(schema: Schema | None = None, params: ParamSchema | None = None, hints: bool = False) -> Any:
    """What MLflow has read of an MLmodel file."""
    return SimpleNamespace(
        get_input_schema=lambda: schema,
        get_params_schema=lambda: params,
        _is_signature_from_type_hint=lambda: hints,
    )


def form(directory: Path, about: Any, example: object = None, takes_files: bool = True) -> RequestForm:
    """The form for a model with this example."""
    if example is not None:
        text = example if isinstance(example, str) else json.dumps(example)
        (directory / "serving_input_example.json").write_text(text)
    return request_form(directory, about, {}, takes_files)


def test_recordings_come_with_the_logged_metadata(models: Path) -> None:
    """And with the names of the recordings, without their bytes."""
    about = mlflow.models.Model.load(models / "echo")
    found = request_form(models / "echo", about, {}, takes_files=True)
    assert (found.kind, found.path) == (FormKind.RECORDINGS, "/predict")
    assert (found.metadata, found.parts) == (EXAMPLE_METADATA, ("aceite",))


def test_a_table_comes_with_its_columns_its_first_rows_and_its_parameters(models: Path) -> None:
    """A real model of MLflow's."""
    about = mlflow.models.Model.load(models / "ridge")
    found = request_form(models / "ridge", about, about.saved_input_example_info or {}, takes_files=False)
    assert (found.kind, found.path) == (FormKind.TABLE, "/invocations")
    assert found.columns == (Column("age", "double", True), Column("spo2", "double", True))
    assert found.rows[:2] == ((1.0, 0.5), (2.0, 1.0))
    assert found.params == {"threshold": 0.5}


def test_rows_are_in_the_order_of_the_columns(tmp_path: Path) -> None:
    """An example may have another one. Its parameters win over the defaults."""
    params = ParamSchema([ParamSpec("t", "double", 0.5), ParamSpec("k", "long", 3)])
    found = form(tmp_path, metadata(PLAIN, params), {"dataframe_split": SPLIT, "params": {"t": 0.75}})
    assert found.columns == (Column("a", "double", True), Column("b", "string", False))
    assert found.rows == ((1.5, "x"), (2.5, None))
    assert found.params == {"t": 0.75, "k": 3}


@pytest.mark.parametrize(
    "example",
    [
        None,
        [1],
        {"inputs": [1]},
        {"dataframe_split": [1]},
        {"dataframe_split": {"columns": 3, "data": []}},
        {"dataframe_split": {"columns": ["a"], "data": 3}},
        {"dataframe_split": {"columns": ["a"], "data": [3]}},
        {"dataframe_split": {"columns": ["a"], "data": [[1, 2]]}},
        {"dataframe_split": {"columns": [], "data": []}},
        "not JSON",
        "[" * 100_000,
        '{"dataframe_split": {"columns": ["a"], "data": [[' + "[" * 400 + "]" * 400 + "]]}}",
    ],
    ids=lambda example: str(example)[:60],
)
def test_an_odd_example_leaves_an_empty_row(tmp_path: Path, example: object) -> None:
    """The author wrote it: it may be anything."""
    assert form(tmp_path, metadata(PLAIN), example).rows == ((None, None),)


@pytest.mark.parametrize(
    "schema",
    [
        Schema([TensorSpec(__import__("numpy").dtype("float32"), (-1, 3))]),
        Schema([ColSpec(Array("double"), "a")]),
        Schema([ColSpec("double")]),
        Schema([ColSpec("binary", "a")]),
        Schema([ColSpec("double", f"c{number}") for number in range(101)]),
    ],
    ids=["a tensor", "an array in a cell", "no names", "bytes", "more columns than a page has room for"],
)
def test_what_is_no_table_of_plain_values_is_written_as_json(tmp_path: Path, schema: Schema) -> None:
    """With the example, or with the least that can be said."""
    assert json.loads(form(tmp_path, metadata(schema)).body) == {"inputs": []}
    found = form(tmp_path, metadata(schema), {"inputs": [[1, 2, 3]]})
    assert (found.kind, json.loads(found.body)) == (FormKind.JSON, {"inputs": [[1, 2, 3]]})


def test_type_hints_are_written_as_json(tmp_path: Path) -> None:
    """Whatever schema MLflow has made of them."""
    assert form(tmp_path, metadata(PLAIN, hints=True)).kind is FormKind.JSON


@pytest.mark.parametrize(("takes_files", "kind"), [(True, FormKind.RECORDINGS), (False, FormKind.JSON)])
def test_without_signature_and_example_the_kind_of_model_decides(
    tmp_path: Path, takes_files: bool, kind: FormKind
) -> None:
    """A PythonModel may be for recordings; one with an example of its own is not."""
    assert form(tmp_path, metadata(), takes_files=takes_files).kind is kind
    assert form(tmp_path, metadata(), {"inputs": [1]}, takes_files=takes_files).kind is FormKind.JSON


def test_an_example_that_is_too_large_is_not_shown(tmp_path: Path) -> None:
    """It would be no help to a person."""
    assert form(tmp_path, metadata(PLAIN), {"inputs": "x" * MAX_SHOWN_BYTES}).rows == ((None, None),)


@pytest.mark.parametrize("request_text", ["not JSON", "[]", '{"metadata": 3}', '{"metadata": {}, "parts": 3}'])
def test_odd_recordings_do_not_keep_a_model_from_being_served(tmp_path: Path, request_text: str) -> None:
    """The replay decides on that, and says why."""
    directory = tmp_path / "artifacts/replay"
    directory.mkdir(parents=True)
    (directory / "request.json").write_text(request_text)
    assert form(tmp_path, metadata()).parts == ()


@pytest.mark.parametrize(
    "name", ["audio=@/home/ana/.ssh/id_ed25519;filename=a.wav;x", "a\nb", "\x1b[201~", "", "a" * 65, "two words", "á"]
)
def test_the_name_of_a_recording_steers_no_command_line(tmp_path: Path, name: str) -> None:
    """Its author wrote it, and somebody else copies it."""
    directory = tmp_path / "artifacts/replay"
    directory.mkdir(parents=True)
    (directory / "request.json").write_text(json.dumps({"metadata": {}, "parts": {"good-1.x_": {}, name: {}}}))
    assert form(tmp_path, metadata()) == RequestForm(FormKind.RECORDINGS)
    (directory / "request.json").write_text(json.dumps({"metadata": {}, "parts": {"good-1.x_": {}}}))
    assert form(tmp_path, metadata()).parts == ("good-1.x_",)


def test_a_page_is_told_no_nan(tmp_path: Path) -> None:
    """A browser reads no such JSON."""
    found = form(tmp_path, metadata(PLAIN), '{"dataframe_split": {"columns": ["a"], "data": [[NaN]]}}')
    assert math.isnan(found.rows[0][0])
    assert json.loads(found.as_json(), parse_constant=pytest.fail)["rows"] == [[None, None]]
    written = form(tmp_path, metadata(hints=True), '{"inputs": [NaN, 1]}').body
    assert json.loads(written, parse_constant=pytest.fail) == {"inputs": [None, 1]}
