"""Models and columns as people make them: what always was right here stays so."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path
from typing import Any

import httpx
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature, infer_signature
from mlflow.pyfunc import scoring_server
from mlflow.pyfunc.model import PythonModel

from modelserver.answer import JSON, HttpAnswer
from modelserver.model.error_log import ModelErrorLog
from modelserver.model.invocations import ScoringModel
from modelserver.model.progress import RequestProgress, in_this_thread
from tests.modelserver.process import OTHER_PACKAGES, PATIENCE, ServerProcess, listen, start, url

CSV = "text/csv"
_LOADER = '''"""A flavour of somebody's own, in a package of its own."""

import json
import os

import joblib
from house.arithmetic import power


class Squares:
    def __init__(self, path):
        with open(os.path.join(path, "factor.json")) as file:
            self.factor = json.load(file)

    def predict(self, data):
        numbers = [int(number) for number in data]
        done = joblib.Parallel(n_jobs=2)(joblib.delayed(power)(number) for number in numbers)
        assert os.getpid() not in {process for _, process in done}
        return [self.factor * square for square, _ in done]


def _load_pyfunc(path):
    return Squares(path)
'''
_ARITHMETIC = '"""Theirs."""\n\nimport os\n\n\ndef power(number):\n    return number**2, os.getpid()\n'


def test_a_loader_with_data_and_code_computes_in_two_processes(tmp_path: Path, processes: list[ServerProcess]) -> None:
    """It finds its data and its package, and so do the processes that joblib starts out of a thread of the server."""
    package, data = tmp_path / "code/house", tmp_path / "data"
    package.mkdir(parents=True)
    data.mkdir()
    for name, text in (("__init__", '"""Theirs."""\n'), ("loader", _LOADER), ("arithmetic", _ARITHMETIC)):
        (package / f"{name}.py").write_text(text)
    (data / "factor.json").write_text("0.5")
    place = tmp_path / "m"
    mlflow.pyfunc.save_model(
        place,
        loader_module="house.loader",
        data_path=str(data),
        code_paths=[str(package)],
        pip_requirements=[],
    )
    with listen() as tcp:
        server = start(tmp_path / "s", place, [tcp])
        processes.append(server)
        server.wait_for("READY=1")
        answer = httpx.post(f"{url(tcp)}/invocations", json={"inputs": [1, 2, 3, 4]}, timeout=PATIENCE)
        assert (answer.status_code, answer.text) == (200, '{"predictions": [0.5, 2.0, 4.5, 8.0]}'), server.printed()
        assert server.end() == 0


# What a model computes, and what comes out.
NATIVE: dict[str, tuple[str, str]] = {
    "lightgbm": (
        "import lightgbm, numpy\n"
        "        x = numpy.arange(40.0).reshape(-1, 1)\n"
        "        fitted = lightgbm.LGBMRegressor(min_child_samples=3, verbose=-1).fit(x, 3 * x[:, 0])\n"
        "        return [bool(fitted.predict([[35.0]])[0] > fitted.predict([[3.0]])[0])]",
        '{"predictions": [true]}',
    ),
    "onnxruntime": (
        "import numpy, onnxruntime\n"
        "        from onnx import TensorProto, helper\n"
        "        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in 'xy']\n"
        "        node = helper.make_node('Add', ['x', 'x'], ['y'])\n"
        "        graph = helper.make_graph([node], 'g', ends[:1], ends[1:])\n"
        "        made = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=9)\n"
        "        session = onnxruntime.InferenceSession(made.SerializeToString())\n"
        "        return session.run(None, {'x': numpy.float32([1.5, 2])})[0].tolist()",
        '{"predictions": [3.0, 4.0]}',
    ),
}


@pytest.mark.by_hand
@pytest.mark.parametrize("library", NATIVE)
def test_libraries_with_threads_of_their_own_compute_in_a_thread_of_the_server(
    library: str, tmp_path: Path, processes: list[ServerProcess]
) -> None:
    """They need packages that the tests do not have: `pip install --no-deps --target DIR lightgbm onnxruntime onnx`
    and what onnx needs (protobuf, ml_dtypes), with TESTED_WITH_PACKAGES_IN=DIR.
    """
    if not Path(os.environ.get(OTHER_PACKAGES, ""), library).is_dir():
        pytest.skip(f"needs {library} in the directory that {OTHER_PACKAGES} names")
    body, answered = NATIVE[library]
    code = tmp_path / "native.py"
    code.write_text(
        "import mlflow\n\n\nclass Native(mlflow.pyfunc.PythonModel):\n"
        f"    def predict(self, context, model_input, params=None):\n        {body}\n\n\n"
        "mlflow.models.set_model(Native())\n"
    )
    mlflow.pyfunc.save_model(tmp_path / "m", python_model=str(code), pip_requirements=[])
    with listen() as tcp:
        server = start(tmp_path / "s", tmp_path / "m", [tcp])
        processes.append(server)
        server.wait_for("READY=1")
        answer = httpx.post(f"{url(tcp)}/invocations", json={"inputs": [1]}, timeout=PATIENCE)
        assert (answer.status_code, answer.text) == (200, answered), server.printed()


class Columns(PythonModel):
    """Says of which type each column is, and what is in it."""

    # MLflow takes hints for a schema to enforce.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # noqa: ARG002 - see above
        """Types, then rows with None for what is missing."""
        rows = model_input.astype(object).where(model_input.notna(), None).to_numpy().tolist()
        return [[str(model_input[name].dtype) for name in model_input], rows]


with warnings.catch_warnings():
    # It advises against whole numbers that can be missing: that is what is looked at here.
    warnings.simplefilter("ignore")
    NULLABLE = infer_signature(pd.DataFrame({"n": pd.array([1, None], dtype="Int64")}))
    SHORT = infer_signature(pd.DataFrame({"n": np.array([1, 2], dtype="int32")}))
_ROWS = json.dumps({"dataframe_split": {"columns": ["n"], "data": [[1], [None]]}})
# The signature, the request, and the types and rows that the model sees.
TAKEN: dict[str, tuple[ModelSignature | None, str, str, object]] = {
    "a missing value without a signature": (None, JSON, _ROWS, [["float64"], [[1.0], [None]]]),
    "a whole number that may be missing": (NULLABLE, JSON, _ROWS.replace("null", "2"), [["int64"], [[1], [2]]]),
    "a column that may be missing, missing": (NULLABLE, JSON, '{"dataframe_records": [{"x": 1}]}', [[], []]),
    "int32 in CSV": (SHORT, CSV, "n\n3\n-4\n", [["int32"], [[3], [-4]]]),
}
# The signature, the request, and what of MLflow's refusal a client needs.
REFUSED: dict[str, tuple[ModelSignature, str, str, str]] = {
    "a missing whole number": (NULLABLE, JSON, _ROWS, "Failed to convert column n to type 'int64'"),
    "a missing whole number in CSV": (NULLABLE, CSV, 'n\n1\n""\n', "Integer column has NA values in column 0"),
    "a missing int32 in CSV": (SHORT, CSV, 'n\n1\n""\n', "Integer column has NA values in column 0"),
    "a fraction for int32 in CSV": (SHORT, CSV, "n\n3.5\n", "cannot safely convert"),
}


@pytest.fixture(scope="module")
def columns(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A loaded model; each test gives it a signature."""
    place = tmp_path_factory.mktemp("columns") / "m"
    mlflow.pyfunc.save_model(place, python_model=Columns(), pip_requirements=[])
    return mlflow.pyfunc.load_model(str(place))


@pytest.mark.parametrize("name", TAKEN)
def test_a_column_of_whole_numbers_is_taken_as_mlflow_takes_it(name: str, columns: Any) -> None:
    """Of the same type, and byte for byte in the answer."""
    signature, content_type, body, seen = TAKEN[name]
    columns.metadata.signature = signature
    answer = _answer(columns, body, content_type)
    assert (answer.status, answer.body) == (200, _mlflows_answer(columns, body, content_type))
    assert json.loads(answer.body) == {"predictions": seen}


@pytest.mark.parametrize("name", REFUSED)
def test_a_column_of_whole_numbers_is_refused_as_mlflow_refuses_it(name: str, columns: Any) -> None:
    """In its words. What the signature refuses is the client's mistake, not the release's."""
    signature, content_type, body, why = REFUSED[name]
    columns.metadata.signature = signature
    with pytest.raises(MlflowException, match=why) as refusal:
        _mlflows_answer(columns, body, content_type)
    answer = _answer(columns, body, content_type)
    assert (answer.status, answer.release_failed) == (400, False)
    assert json.loads(answer.body)["message"] == refusal.value.message


def _mlflows_answer(model: Any, body: str, content_type: str) -> str:
    invocations: Any = scoring_server.invocations
    answer: str = invocations(body.encode(), content_type, model, model.metadata.get_input_schema()).response
    return answer


def _answer(model: Any, body: str, content_type: str) -> HttpAnswer:
    request = RequestProgress()
    with in_this_thread(request):
        return ScoringModel(model, ModelErrorLog()).answer(body.encode(), content_type, request)
