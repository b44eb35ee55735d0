"""The models that are served, saved in the environment of the servers, and the requests to them."""

import json
import random
import shutil
from pathlib import Path

from tests.bench.subjects import CACHE, run_in

JSON = "application/json"
NAMES = ("age", "spo2", "heart_rate", "temperature")
_SAVE = """
import sys, mlflow, numpy, pandas
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import Schema, TensorSpec
from sklearn.linear_model import LogisticRegression
directory, names = sys.argv[1], sys.argv[2].split(",")
random = numpy.random.default_rng(0)
table = pandas.DataFrame(random.random((200, len(names))), columns=names)
target = (table[names[0]] > 0.5).astype(int)
estimator = LogisticRegression().fit(table, target)
common = dict(pip_requirements=["mlflow", "scikit-learn"], serialization_format="cloudpickle")
signature = infer_signature(table, estimator.predict(table))
mlflow.sklearn.save_model(estimator, directory + "/table", signature=signature, **common)
tensor = ModelSignature(Schema([TensorSpec(numpy.dtype("float64"), (-1, len(names)))]))
plain = LogisticRegression().fit(table.to_numpy(), target)
mlflow.sklearn.save_model(plain, directory + "/tensor", signature=tensor, **common)
"""
_PREDICT = """
import sys, time, mlflow, pandas
model = mlflow.pyfunc.load_model(sys.argv[1])
names = sys.argv[2].split(",")
estimator = model._model_impl.sklearn_model
table = pandas.DataFrame([[0.1, 0.2, 0.3, 0.4]], columns=names)
for _ in range(200):
    estimator.predict(table)
times = []
for _ in range(2000):
    began = time.perf_counter()
    estimator.predict(table)
    times.append(time.perf_counter() - began)
print(sorted(times)[1000] * 1000)
"""
_LOAD = """
import sys, time
began = time.perf_counter()
import mlflow
mlflow.pyfunc.load_model(sys.argv[1])
print(time.perf_counter() - began)
"""


def saved() -> Path:
    """The directory with the models `table` and `tensor`, made anew for each run."""
    directory = emptied(CACHE / "models")
    run_in("ours", "-c", _SAVE, str(directory), ",".join(NAMES))
    return directory


def emptied(directory: Path) -> Path:
    """A directory that holds nothing, for models that are saved anew."""
    if directory.exists():
        shutil.rmtree(directory)
    directory.mkdir(parents=True)
    return directory


def milliseconds_of_predict(model: Path) -> float:
    """The median time of the estimator's own predict, on one row that is a DataFrame already."""
    return float(run_in("ours", "-c", _PREDICT, str(model), ",".join(NAMES)))


def seconds_to_load(model: Path) -> float:
    """How long a Python that has started takes to import MLflow and load the model."""
    return float(run_in("ours", "-c", _LOAD, str(model)))


def rows(count: int) -> list[list[float]]:
    """Rows for the models, always the same ones."""
    generator = random.Random(count)  # noqa: S311 - test data
    return [[generator.random() for _ in NAMES] for _ in range(count)]


def split(count: int) -> bytes:
    """A table of so many rows, in the form that pandas writes without an index."""
    return json.dumps({"dataframe_split": {"columns": NAMES, "data": rows(count)}}).encode()


def forms(count: int) -> dict[str, tuple[str, bytes, str]]:
    """Requests of so many rows: the model, the body and its media type by the name of the form."""
    data = rows(count)
    records = [dict(zip(NAMES, row, strict=True)) for row in data]
    columns = {name: [row[at] for row in data] for at, name in enumerate(NAMES)}
    text = "\n".join([",".join(NAMES), *(",".join(map(repr, row)) for row in data), ""])
    indexed = {"columns": NAMES, "index": list(range(count)), "data": data}
    parquet = CACHE / "rows.parquet"
    program = "import sys, pandas; pandas.read_csv(sys.stdin).to_parquet(sys.argv[1], index=False)"
    csv = CACHE / "rows.csv"
    csv.write_text(text)
    run_in("ours", "-c", program.replace("sys.stdin", repr(str(csv))), str(parquet))
    return {
        "split": ("table", split(count), JSON),
        "split with an index": ("table", json.dumps({"dataframe_split": indexed}).encode(), JSON),
        "records": ("table", json.dumps({"dataframe_records": records}).encode(), JSON),
        "instances": ("table", json.dumps({"instances": records}).encode(), JSON),
        "inputs": ("table", json.dumps({"inputs": columns}).encode(), JSON),
        "CSV": ("table", text.encode(), "text/csv"),
        "Parquet": ("table", parquet.read_bytes(), "application/vnd.apache.parquet"),
        "tensor": ("tensor", json.dumps({"inputs": data}).encode(), JSON),
    }
