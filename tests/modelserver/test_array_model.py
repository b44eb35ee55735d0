"""Estimators that are given arrays answer exactly what MLflow's server answers, whatever the form of the request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.models import infer_signature
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    BaggingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from modelserver.model.error_log import ModelErrorLog
from modelserver.model.invocations import ScoringModel
from modelserver.model.progress import RequestProgress

NAMES = ["age", "spo2", "heart_rate"]
_random = np.random.default_rng(7)
TABLE = pd.DataFrame(_random.random((60, 3)) * 100, columns=NAMES)
CLASSES = (TABLE["age"] > 50).astype(int)
LABELS = CLASSES.map({0: "negative", 1: "positive"})
WITH_ARRAYS: dict[str, tuple[Any, Any, str]] = {
    "logistic": (LogisticRegression(max_iter=500), CLASSES, "predict"),
    "probabilities": (LogisticRegression(max_iter=500), CLASSES, "predict_proba"),
    "labels": (LogisticRegression(max_iter=500), LABELS, "predict"),
    "linear": (LinearRegression(), TABLE["age"] * 2, "predict"),
    "two outputs": (LinearRegression(), TABLE[["age", "spo2"]], "predict"),
    "forest": (RandomForestClassifier(10, random_state=0), CLASSES, "predict_proba"),
    "boosting": (GradientBoostingRegressor(n_estimators=10), TABLE["spo2"], "predict"),
    "tree": (DecisionTreeClassifier(), CLASSES, "predict"),
    "neighbours": (KNeighborsRegressor(3), TABLE["spo2"], "predict"),
    "bayes": (GaussianNB(), CLASSES, "predict"),
    "support vectors": (SVC(), CLASSES, "predict"),
    "network": (MLPClassifier((5,), max_iter=50), CLASSES, "predict"),
    "pipeline": (make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression()), CLASSES, "predict"),
}
WITHOUT: dict[str, Any] = {
    "columns by name": make_pipeline(ColumnTransformer([("a", StandardScaler(), ["spo2"])]), LogisticRegression()),
    "a function": make_pipeline(FunctionTransformer(lambda table: table[["age"]]), LogisticRegression()),
    "others inside": BaggingClassifier(LogisticRegression(), 2),
    "types of columns": HistGradientBoostingClassifier(max_iter=2),
    "tables between": make_pipeline(StandardScaler().set_output(transform="pandas"), LogisticRegression()),
}


def scored(directory: Path, estimator: Any, target: Any, method: str = "predict", inputs: Any = TABLE) -> ScoringModel:
    """A fitted estimator, saved and loaded as any other, ready to answer."""
    estimator.fit(TABLE, target)
    signature = infer_signature(inputs, getattr(estimator, method)(TABLE))
    mlflow.sklearn.save_model(
        estimator,
        directory,
        signature=signature,
        pyfunc_predict_fn=method,
        pip_requirements=["mlflow"],
        serialization_format="cloudpickle",
    )
    return ScoringModel(mlflow.pyfunc.load_model(str(directory)), ModelErrorLog())


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ScoringModel]:
    """One of each kind."""
    directory = tmp_path_factory.mktemp("estimators")
    return {name: scored(directory / name, *parts) for name, parts in WITH_ARRAYS.items()}


def outcome(scoring: ScoringModel, body: bytes) -> tuple[int, Any]:
    """Status and content of an answer."""
    answer = scoring.answer(body, "application/json", RequestProgress())
    return answer.status, answer.body


def compare(scoring: ScoringModel, body: bytes) -> None:
    """Hold that the answer is that of MLflow's own code."""
    fast, ours = scoring._fast, outcome(scoring, body)
    scoring._fast = None
    try:
        assert ours == outcome(scoring, body), body
    finally:
        scoring._fast = fast


NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
USUAL = st.floats(0, 100)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A table in one of the forms that clients send, of usual numbers, any numbers, or with something missing."""
    value = draw(st.sampled_from([USUAL, USUAL, NUMBERS, NUMBERS | st.none()]))
    names = draw(st.permutations(NAMES))
    rows = draw(st.lists(st.lists(value, min_size=3, max_size=3), min_size=1, max_size=9))
    records = [dict(zip(names, row, strict=True)) for row in rows]
    columns = {name: [row[at] for row in rows] for at, name in enumerate(names)}
    forms: list[Any] = [
        {"dataframe_split": {"columns": names, "data": rows}},
        {"dataframe_split": {"columns": names, "data": rows, "index": list(range(len(rows)))}},
        {"dataframe_records": records},
        {"inputs": records},
        {"instances": records},
        {"inputs": columns},
        {"instances": columns},
        {"inputs": rows},
    ]
    return json.dumps(draw(st.sampled_from(forms))).encode()


@pytest.mark.parametrize("name", WITH_ARRAYS)
def test_they_answer_as_mlflow_does(models: dict[str, ScoringModel], name: str) -> None:
    """To the last digit, in every form of request, errors included."""
    scoring = models[name]
    assert scoring._fast is not None
    assert scoring._fast._predict_array is not None, "it is not given arrays"

    @settings(max_examples=40, deadline=None)
    @given(requests())
    def same(body: bytes) -> None:
        compare(scoring, body)

    same()


@pytest.mark.parametrize("rows", [1, 2, 100, 1000])
def test_many_rows_have_the_same_last_digit(models: dict[str, ScoringModel], rows: int) -> None:
    """Sums depend on the order in memory."""
    table = pd.DataFrame(np.random.default_rng(rows).random((rows, 3)) * 100, columns=NAMES)
    body = json.dumps({"dataframe_split": json.loads(table.to_json(orient="split"))}).encode()
    for scoring in models.values():
        compare(scoring, body)


@pytest.mark.parametrize("name", WITHOUT)
def test_what_may_look_at_names_and_types_is_given_tables(tmp_path: Path, name: str) -> None:
    """Also where it would answer arrays, too."""
    scoring = scored(tmp_path / "model", WITHOUT[name], CLASSES)
    assert scoring._fast is not None
    assert scoring._fast._predict_array is None
    compare(scoring, b'{"dataframe_records": [{"age": 1.5, "spo2": 2.5, "heart_rate": 3.5}]}')


def test_a_model_that_was_fitted_with_other_names_is_given_tables(tmp_path: Path) -> None:
    """It refuses them, and has to be asked to find out."""
    scoring = scored(tmp_path / "model", LogisticRegression(), CLASSES, inputs=TABLE.rename(columns={"age": "years"}))
    assert scoring._fast is not None
    assert scoring._fast._predict_array is None
    compare(scoring, b'{"dataframe_records": [{"years": 1.5, "spo2": 2.5, "heart_rate": 3.5}]}')


def test_an_estimator_that_answers_otherwise_without_names_is_given_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trial with generated rows finds it."""

    def predict(_: Any, table: Any) -> Any:
        return np.asarray(table).sum(axis=1) + isinstance(table, pd.DataFrame)

    monkeypatch.setattr(LinearRegression, "predict", predict)
    scoring = scored(tmp_path / "model", LinearRegression(), TABLE["age"])
    assert scoring._fast is not None
    assert scoring._fast._predict_array is None
