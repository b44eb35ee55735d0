"""The shortcut for tables gives the model, and the client, exactly what MLflow's own way gives them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.models import ModelSignature
from mlflow.pyfunc.model import PythonModel
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec

from modelserver.model.error_log import ModelErrorLog
from modelserver.model.fast_table import MAX_BODY, parse
from modelserver.model.invocations import ScoringModel
from modelserver.model.progress import RequestProgress

COLUMNS = {"d": "double", "f": "float", "l": "long", "i": "integer", "b": "boolean"}
SEEN: list[pd.DataFrame] = []


class Recorder(PythonModel):
    """Keeps what it is given, and answers with it; raises where the first number says so."""

    def predict(self, context: Any, model_input: Any, params: dict[str, Any] | None = None) -> Any:  # noqa: ARG002 - MLflow's
        """Record."""
        SEEN.append(model_input)
        first = model_input.iloc[0, 0] if len(model_input) else 0
        if first == 13:
            raise ValueError("thirteen")
        if first == 14:
            raise mlflow.exceptions.MlflowException("fourteen", error_code=mlflow.protos.databricks_pb2.BAD_REQUEST)
        return model_input if first == 15 else model_input.iloc[:, 0].to_numpy()


def saved(directory: Path, signature: ModelSignature | None) -> Any:
    """A loaded model with this signature."""
    mlflow.pyfunc.save_model(directory, python_model=Recorder(), signature=signature, pip_requirements=["mlflow"])
    return mlflow.pyfunc.load_model(str(directory))


def signature_of(columns: dict[str, str]) -> ModelSignature:
    """A signature of these columns."""
    return ModelSignature(inputs=Schema([ColSpec(kind, name) for name, kind in columns.items()]))


class Both:
    """One model behind the shortcut, and behind MLflow's own way."""

    def __init__(self, model: Any) -> None:
        """Make both."""
        self.scoring = ScoringModel(model, ModelErrorLog())
        assert self.scoring._fast is not None, "the shortcut does not apply"
        self.fast = self.scoring._fast

    def ask(self, body: bytes) -> tuple[Any, Any]:
        """What came of a body both ways: status and text, and what the model was given."""
        found: list[tuple[Any, str, list[pd.DataFrame]]] = []
        for fast in (self.fast, None):
            self.scoring._fast = fast
            SEEN.clear()
            try:
                answer = self.scoring.answer(body, "application/json", RequestProgress())
                found.append((answer.status, answer.body, list(SEEN)))
            except Exception as failure:  # noqa: BLE001 - what is no exception of MLflow's own is answered further out
                found.append((type(failure).__name__, str(failure), list(SEEN)))
        self.scoring._fast = self.fast
        return found[0], found[1]

    def compare(self, body: bytes) -> None:
        """Hold that both are the same, types, index and order included."""
        ours, theirs = self.ask(body)
        assert ours[:2] == theirs[:2], body
        assert len(ours[2]) == len(theirs[2])
        for mine, other in zip(ours[2], theirs[2], strict=True):
            pd.testing.assert_frame_equal(mine, other, check_exact=True, check_column_type="exact")
            assert type(mine.index) is type(other.index)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Both:
    """A model with a column of each type."""
    return Both(saved(tmp_path_factory.mktemp("mixed") / "m", signature_of(COLUMNS)))


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Both:
    """A model of floats alone, as most are."""
    return Both(saved(tmp_path_factory.mktemp("plain") / "m", signature_of({"x": "double", "y": "double"})))


RIGHT: dict[str, st.SearchStrategy[Any]] = {
    "double": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53),
    "float": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**24), 2**24),
    "long": st.integers(-(2**63), 2**63 - 1),
    "integer": st.integers(-(2**31), 2**31 - 1),
    "boolean": st.booleans(),
}
ODD: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, 1, 0, 1.5, -0.0, 1e400, math.nan, 2**53 + 1, 2**63, -(2**63), 2**31, "1", "", "x", [], {}, [1], 1e-320]
)
AROUND = [13, 14, 15, 0]
INDEX: st.SearchStrategy[Any] = st.sampled_from([0, 1, -3, True, 1.5, "a", None, 2**53, 2**63, 2**64])


@st.composite
def bodies(draw: st.DrawFn, columns: dict[str, str], *, odd: bool) -> bytes:
    """A body as clients send them, or with something odd in it."""
    names = draw(st.permutations(list(columns)))
    rows = draw(
        st.lists(st.fixed_dictionaries({name: RIGHT[kind] for name, kind in columns.items()}), min_size=1, max_size=4)
    )
    if draw(st.booleans()):
        first = next(iter(columns))
        rows[0][first] = draw(st.sampled_from(AROUND))
    if odd:
        for _ in range(draw(st.integers(1, 3))):
            rows[draw(st.integers(0, len(rows) - 1))][draw(st.sampled_from(names))] = draw(ODD)
        if draw(st.integers(0, 5)) == 0:
            rows[0].pop(draw(st.sampled_from(names)))
        if draw(st.integers(0, 5)) == 0:
            rows[-1]["more"] = draw(ODD)
    if draw(st.booleans()):
        table: Any = {"dataframe_records": [{name: row[name] for name in row} for row in rows]}
    else:
        split: dict[str, Any] = {"columns": list(names), "data": [[row.get(n) for n in names] for row in rows]}
        if draw(st.booleans()):
            split["index"] = draw(
                st.lists(INDEX if odd else st.integers(-5, 5), min_size=len(rows), max_size=len(rows))
            )
        table = {"dataframe_split": split}
    if odd and draw(st.integers(0, 7)) == 0:
        table["params"] = draw(st.sampled_from([{}, None, {"x": 1}]))
    return json.dumps(table).encode()


@settings(max_examples=150)
@given(st.data())
def test_right_tables_take_the_shortcut_and_arrive_alike(mixed: Both, plain: Both, data: st.DataObject) -> None:
    """Whatever the form, the order of columns, and what the model does with it."""
    for both, columns in ((mixed, COLUMNS), (plain, {"x": "double", "y": "double"})):
        body = data.draw(bodies(columns, odd=False))
        assert both.fast.read(json.loads(body)) is not None, body
        both.compare(body)


@settings(max_examples=250)
@given(st.data())
def test_odd_tables_are_answered_alike(mixed: Both, plain: Both, data: st.DataObject) -> None:
    """Missing and odd values, columns that are too many or too few, parameters: most of them go MLflow's way."""
    for both, columns in ((mixed, COLUMNS), (plain, {"x": "double", "y": "double"})):
        both.compare(data.draw(bodies(columns, odd=True)))


ODD_BODIES = [
    *(
        b"",
        b"{",
        b"[]",
        b"{}",
        b"null",
        b"1",
        b'"x"',
        b"\xff",
        b'\xef\xbb\xbf{"dataframe_records": [{"x": 1, "y": 2}]}',
    ),
    *('{"dataframe_records": [{"x": 1.5, "y": 2}]}'.encode(code) for code in ("utf-16", "utf-32")),
    b'{"dataframe_records": []}',
    b'{"dataframe_records": [{}]}',
    b'{"dataframe_records": {"x": [1], "y": [2]}}',
    b'{"dataframe_records": [{"x": 1, "x": 2.5, "y": 3}]}',
    b'{"dataframe_records": [{"x": 1, "y": 2}], "dataframe_records": [{"x": 3, "y": 4}]}',
    b'{"dataframe_records": [{"x": 1, "y": 2}], "dataframe_split": {}}',
    b'{"dataframe_split": {"columns": ["x", "y"], "data": []}}',
    b'{"dataframe_split": {"columns": ["x", "x"], "data": [[1, 2]]}}',
    b'{"dataframe_split": {"columns": ["x", 1], "data": [[1, 2]]}}',
    b'{"dataframe_split": {"columns": ["x", ["y"]], "data": [[1, 2]]}}',
    b'{"dataframe_split": {"columns": ["x", "y"], "index": [7], "data": [[1, 2]]}}',
    b'{"dataframe_split": {"columns": ["x", "y"], "data": [[1, 2], [3]]}}',
    b'{"dataframe_split": {"columns": ["x", "y"], "data": [[1, NaN]]}}',
    b'{"dataframe_split": {"columns": ["x", "y"], "data": [[1, Infinity]]}}',
    b'{"dataframe_split": {"columns": ["x", "y"], "data": [[1, 123456789012345678901234567890]]}}',
    b'{"dataframe_split": {"columns": ["x", "y"], "data": "12"}}',
    b'{"dataframe_split": {"columns": "xy", "data": [[1, 2]]}}',
    b'{"dataframe_split": {"data": [[1, 2]]}}',
    b'{"inputs": [{"x": 1, "y": 2}]}',
    b'{"instances": [{"x": 1, "y": 2}]}',
    b'{"inputs": {"x": [1], "y": [2]}}',
]


@pytest.mark.parametrize("body", ODD_BODIES, ids=lambda body: repr(body)[:60])
def test_odd_bodies_are_answered_alike(plain: Both, body: bytes) -> None:
    """Those that are no tables, too."""
    plain.compare(body)


def test_a_large_body_goes_mlflows_way(plain: Both) -> None:
    """Where its limits hold."""
    rows = [{"x": 1.5, "y": 2.5}] * (MAX_BODY // 20)
    body = json.dumps({"dataframe_records": rows}).encode()
    assert parse(body) is None
    plain.compare(body)


def signatures() -> Iterator[Any]:
    """What says more than plain columns, or less."""
    yield pytest.param(None, id="no signature")
    inputs = Schema([ColSpec("double", "x")])
    params = ParamSchema([ParamSpec("p", "double", 0.5)])
    yield pytest.param(ModelSignature(inputs=inputs, params=params), id="params")
    yield pytest.param(ModelSignature(inputs=Schema([ColSpec("double", "x", required=False)])), id="optional")
    yield pytest.param(ModelSignature(inputs=Schema([ColSpec("string", "x")])), id="text")
    yield pytest.param(ModelSignature(inputs=Schema([ColSpec("datetime", "x")])), id="times")
    yield pytest.param(ModelSignature(inputs=Schema([ColSpec("double")])), id="no names")
    import numpy as np

    yield pytest.param(ModelSignature(inputs=Schema([TensorSpec(np.dtype("float64"), (-1, 2))])), id="tensors")


@pytest.mark.parametrize("signature", [*signatures()])
def test_other_signatures_have_no_shortcut(tmp_path: Path, signature: ModelSignature | None) -> None:
    """MLflow does more with their tables than to read them."""
    scoring = ScoringModel(saved(tmp_path / "m", signature), ModelErrorLog())
    assert scoring._fast is None


def test_insides_of_another_mlflow_have_no_shortcut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It serves as before."""
    model = saved(tmp_path / "m", signature_of({"x": "double"}))
    monkeypatch.setattr(mlflow, "__version__", "4.0.0")
    scoring = ScoringModel(model, ModelErrorLog())
    assert scoring._fast is None
    answer = scoring.answer(b'{"dataframe_records": [{"x": 1.5}]}', "application/json", RequestProgress())
    assert json.loads(answer.body) == {"predictions": [1.5]}
