"""Only what becomes a table is judged as one: by real models of each kind, in requests and in their own examples."""

from __future__ import annotations

import json
import random
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow.models import ModelSignature
from mlflow.pyfunc.model import PythonModel
from mlflow.types.schema import AnyType, Array, ColSpec, DataType, Schema, TensorSpec

from modelserver.errors import CannotServeError
from modelserver.http import api_description
from modelserver.http.web import docs_page
from modelserver.model import json_tables, table_limits
from modelserver.model.diagnosis import DiagnosisModel
from modelserver.model.error_log import ModelErrorLog
from modelserver.model.invocations import ScoringModel
from modelserver.model.replay import replay
from modelserver.model.request_form import FormKind, RequestForm

JSON = "application/json"


class Plain(PythonModel):
    """Takes what comes."""

    # MLflow takes hints for a schema to enforce.
    def predict(self, context, model_input):  # type: ignore[no-untyped-def,override]  # noqa: ARG002 - see above
        """How much it is."""
        return [len(model_input)]


class Ragged(PythonModel):
    """Takes lists of numbers."""

    def predict(self, model_input: list[list[float]]) -> list[float]:  # type: ignore[override]  # as MLflow wants hints
        """How long each of them is."""
        return [float(len(row)) for row in model_input]


class Objects(PythonModel):
    """Takes objects."""

    def predict(self, model_input: list[dict[str, float]]) -> list[float]:  # type: ignore[override]  # likewise
        """How many keys each of them has."""
        return [float(len(row)) for row in model_input]


class Repeating(PythonModel):
    """Answers with keys that become equal."""

    # MLflow takes hints for a schema to enforce.
    def predict(self, context, model_input):  # type: ignore[no-untyped-def,override]  # noqa: ARG002 - see above
        """A number and none under one name."""
        return {1: float("nan"), "1": 2, "words": ["NaN", {}]}


def _columns(**types: Any) -> ModelSignature:
    return ModelSignature(inputs=Schema([ColSpec(kind, name) for name, kind in types.items()]))


def _tensors(*names: str) -> ModelSignature:
    return ModelSignature(inputs=Schema([TensorSpec(np.dtype("float64"), (-1,), name) for name in names]))


NAMES = [f"k{index}" for index in range(9)]
KINDS: dict[str, Callable[[], tuple[PythonModel, ModelSignature | None]]] = {
    "ragged": lambda: (Ragged(), None),
    "objects": lambda: (Objects(), None),
    "array": lambda: (
        Plain(),
        _columns(audio=Array(DataType.double), rate=DataType.long, **dict.fromkeys(NAMES, DataType.long)),
    ),
    "tensors": lambda: (Plain(), _tensors("audio", *NAMES)),
    "anything": lambda: (Plain(), None),
    "words": lambda: (Plain(), _columns(word=DataType.string)),
    "numbers": lambda: (Plain(), _columns(a=DataType.double, b=DataType.double)),
    "unnamed": lambda: (Plain(), ModelSignature(inputs=Schema([ColSpec(AnyType())]))),  # type: ignore[no-untyped-call]  # MLflow's is untyped
}
LONG = [1.0] * 200_000
WITH_SCALARS = {"inputs": {"audio": LONG, "rate": 16_000, **dict.fromkeys(NAMES, 1)}}
RAGGED = {"inputs": [[1.0] * 5_000, *([[1.0] * 20] * 999)]}
APART = [{f"k{index}": 1.0} for index in range(1_100)]
WIDE = dict.fromkeys((f"k{index}" for index in range(20_000)), 1)
LEFT_ALONE: dict[str, tuple[str, Any]] = {
    "lists of unequal length for a type hint": ("ragged", RAGGED),
    "objects of unequal keys for a type hint": ("objects", {"inputs": APART}),
    "an array beside scalars": ("array", WITH_SCALARS),
    "an object of tensors of unequal length": (
        "tensors",
        {"inputs": {"audio": LONG, **{name: [1.0] for name in NAMES}}},
    ),
    "an object for a model without a signature": ("anything", WITH_SCALARS),
    "brackets within strings": ("words", {"dataframe_split": {"columns": ["word"], "data": [["[{" * 600_000]]}}),
    "brackets within strings after escapes": (
        "words",
        {"dataframe_records": [{"word": '\\"[' * 500_000}, {"word": "\\"}, {"word": "{" * 600_000}]},
    ),
}
REFUSED: dict[str, tuple[str, Any]] = {
    "records without a common key": ("numbers", {"inputs": APART}),
    "such instances": ("numbers", {"instances": APART}),
    "such records for a model without a signature": ("anything", {"inputs": APART}),
    "a long column beside many": ("numbers", {"inputs": {**WIDE, "a": [1.0] * 20_000}}),
    "columns that name rows of their own": ("numbers", {"inputs": {name: {name: 1} for name in WIDE}}),
    "a long column beside many, of what is not wrapped": ("numbers", {**WIDE, "input": [1.0] * 20_000}),
    "lists of unequal length of anything": ("unnamed", {"inputs": [[1.0] * 20_000, *([[]] * 20_000)]}),
    "a table for a type hint": ("ragged", {"dataframe_records": APART}),
    "lists within what looks like a string": ("words", {"inputs": ["\\\\", *([[]] * 1_100_000), "\\"]}),
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, Any]]:
    """The directory of a model of a kind, and the model; made when it is asked for first."""
    directory = tmp_path_factory.mktemp("kinds")
    made: dict[str, tuple[Path, Any]] = {}

    def of(kind: str) -> tuple[Path, Any]:
        if kind not in made:
            model, signature = KINDS[kind]()
            place = directory / kind
            mlflow.pyfunc.save_model(place, python_model=model, signature=signature, pip_requirements=[])
            made[kind] = place, mlflow.pyfunc.load_model(str(place))
        return made[kind]

    return of


Served = Callable[[str], tuple[Path, Any]]


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_what_never_becomes_a_table_is_answered(name: str, served: Served) -> None:
    """As a request and as the model's own example."""
    kind, request = LEFT_ALONE[name]
    directory, model = served(kind)
    body = json.dumps(request).encode()
    answer = ScoringModel(model, ModelErrorLog()).score(body, JSON)
    assert answer.status == 200, answer.body[:300]
    (directory / "serving_input_example.json").write_bytes(body)
    proved = replay(directory, ScoringModel(model, ModelErrorLog()), DiagnosisModel(model, ModelErrorLog()))
    assert proved == "its logged example was answered"


@pytest.mark.parametrize("name", REFUSED)
def test_what_becomes_a_larger_table_is_refused(name: str, served: Served) -> None:
    """A request for it is, and so a release whose example is one never gets ready."""
    kind, request = REFUSED[name]
    directory, model = served(kind)
    body = json.dumps(request).encode()
    answer = ScoringModel(model, ModelErrorLog()).score(body, JSON)
    assert answer.status == 400
    assert answer.body.startswith('{"error_code": "BAD_REQUEST", "message": "cannot read the request: ')
    (directory / "serving_input_example.json").write_bytes(body)
    with pytest.raises(CannotServeError, match=r"^cannot answer the logged example: .*cannot read the request: "):
        replay(directory, ScoringModel(model, ModelErrorLog()), DiagnosisModel(model, ModelErrorLog()))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-16-le"])
def test_brackets_are_counted_where_quotation_marks_may_be_others(encoding: str) -> None:
    """A letter of UTF-16 may have the byte of one."""
    body = json.dumps({"inputs": ["\u2222", *([[]] * 1_100_000)]}, ensure_ascii=False).encode(encoding)
    everything = json_tables.TableInputs(records=False, rows=False, columns=False, one_row=False)
    refused = table_limits.read_json(body, everything)[0]
    assert refused is not None
    assert "lists and objects" in refused


def _made_up(chance: random.Random, depth: int = 0) -> Any:
    """Some JSON."""
    kind = chance.randrange(4) if depth < 5 else 0
    if kind == 1:
        return chance.random()
    if kind == 2:
        return [_made_up(chance, depth + 1) for _ in range(chance.randrange(5))]
    if kind == 3:
        return {_text(chance): _made_up(chance, depth + 1) for _ in range(chance.randrange(4))}
    return _text(chance)


def _text(chance: random.Random) -> str:
    return "".join(chance.choice('"\\[{]}a\n\u2222') for _ in range(chance.randrange(8)))


def _containers(value: Any) -> int:
    """How many lists and objects are in it, itself included."""
    if isinstance(value, (list, dict)):
        return 1 + sum(map(_containers, value.values() if isinstance(value, dict) else value))
    return 0


@pytest.mark.parametrize("piece", [1, 2, 3, 1 << 20])
def test_lists_are_counted_as_they_are_read(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is in strings, and wherever a long body is parted."""
    monkeypatch.setattr(table_limits, "_PIECE", piece)
    chance = random.Random(piece)  # noqa: S311 - made-up input, no secret
    for _ in range(500):
        value = _made_up(chance)
        for readable in (False, True):
            body = json.dumps(value, ensure_ascii=readable).encode()
            assert table_limits._brackets_outside_strings(body) == _containers(value), body


def test_a_body_of_quotation_marks_takes_no_more_than_a_few_times_its_size() -> None:
    """The judgement itself must not be what a flood is made for."""
    body = b"[" * 1_100_000 + b'"",' * 4_000_000
    tracemalloc.start()
    try:
        assert table_limits._brackets_outside_strings(body) == 1_100_000
        assert tracemalloc.get_traced_memory()[1] < 6 * len(body)
    finally:
        tracemalloc.stop()


def test_no_value_of_equal_names_is_lost_with_nan(tmp_path: Path) -> None:
    """MLflow sends both; so does this server when it turns NaN into null."""
    mlflow.pyfunc.save_model(tmp_path / "m", python_model=Repeating(), pip_requirements=[])
    model = mlflow.pyfunc.load_model(str(tmp_path / "m"))
    answer = ScoringModel(model, ModelErrorLog()).score(b'{"inputs": [1]}', JSON)
    assert answer.body == '{"predictions": {"1": null, "1": 2, "words": ["NaN", {}]}}'


@pytest.mark.parametrize("key", ["messages", "prompt", "input"])
def test_what_is_not_wrapped_is_answered_bare_and_described(key: str, served: Served) -> None:
    """For a client developer and for programs: all of it reaches the model, and the answer is not wrapped either."""
    _, model = served("anything")
    answer = ScoringModel(model, ModelErrorLog()).score(json.dumps({key: ["hello"], "temperature": 1}).encode(), JSON)
    assert (answer.status, answer.body) == (200, "[2]")
    operation = api_description.openapi("x@1", 1)["paths"]["/invocations"]["post"]
    assert key in operation["requestBody"]["content"][JSON]["schema"]["properties"]
    form = RequestForm(FormKind.JSON, body="{}")
    page = docs_page.html_page("x@1", 1, form, takes_files=True, address="http://x", has_page=True)
    told = (operation["description"], operation["responses"]["200"]["description"], page)
    assert [re.search(rf"\b{key}\b", text) is None for text in told] == [False] * 3
    assert f"`{key}`" in (Path(__file__).parents[2] / "docs/serving.md").read_text()
