"""Gives scikit-learn's estimators an array in place of a DataFrame, where that gives the same answer.

scikit-learn takes a DataFrame apart before it computes: it compares the names of the columns with those of the
training, looks at the type of each, and makes an array. Measured with scikit-learn 1.9, pandas 3 and a logistic
regression of four features that is 0.8 of 1.0 ms. The server has compared the names already.

Only for estimators that are known to use nothing of a DataFrame but its values, and only when a trial with generated
rows gives the same answers to the last bit.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Sequence
from typing import Any

from modelserver.errors import describe_error

# Modules whose estimators see a table's values and nothing else of it. Not here: what may choose columns by their names
# or look at their types (compose, FunctionTransformer, HistGradientBoosting*), and what holds other estimators.
_ESTIMATORS = (
    *("sklearn.linear_model.", "sklearn.tree.", "sklearn.svm.", "sklearn.neighbors.", "sklearn.naive_bayes."),
    *("sklearn.neural_network.", "sklearn.discriminant_analysis.", "sklearn.ensemble._forest."),
    *("sklearn.ensemble._gb.", "sklearn.preprocessing._data.", "sklearn.impute._base.", "sklearn.decomposition."),
)
_METHODS = ("predict", "predict_proba", "predict_log_proba")
_TRIAL_ROWS = (1, 7)
_log = logging.getLogger("modelserver")


def array_predict_for(model: Any, names: Sequence[str], dtype: str) -> Callable[[Any], Any] | None:
    """What MLflow calls of the estimator in `model`, a PyFuncModel, for arrays of shape (rows, len(names)).

    `dtype` is the type of the arrays. None where only a DataFrame will do.
    """
    if model.loader_module != "mlflow.sklearn":
        return None
    try:
        method = model.metadata.flavors["python_function"].get("predict_fn", "predict")
        if method not in _METHODS:
            return None
        estimator = model._model_impl.sklearn_model
        nameless = _without_names(estimator, list(names))
        if nameless is None:
            return None
        theirs: Callable[[Any], Any] = getattr(estimator, method)
        ours: Callable[[Any], Any] = getattr(nameless, method)
        return ours if _answer_alike(theirs, ours, names, dtype) else None
    except Exception as failure:  # noqa: BLE001 - insides of another version than those known here: no shortcut
        _log.info("gives its tables to the model as DataFrames: %s", describe_error(failure, where=False))
        return None


def _without_names(estimator: Any, names: list[str]) -> Any:
    """A copy that shares all of the estimator's data, but expects no names of columns; None where there is none."""
    was_fitted_with = getattr(estimator, "feature_names_in_", None)
    if was_fitted_with is not None and list(was_fitted_with) != names:
        return None
    kind = type(estimator)
    if (kind.__module__, kind.__name__) == ("sklearn.pipeline", "Pipeline"):
        steps = [(name, _without_own_names(step)) for name, step in estimator.steps if step != "passthrough"]
        if any(step is None for _, step in steps):
            return None
        pipeline = _sharing_copy(estimator)
        pipeline.steps = steps
        return pipeline
    return _without_own_names(estimator)


def _without_own_names(estimator: Any) -> Any:
    """The same for an estimator that holds no others."""
    is_known = f"{type(estimator).__module__}.".startswith(_ESTIMATORS)
    gives_tables = hasattr(estimator, "_sklearn_output_config")  # set_output(transform="pandas")
    if not is_known or gives_tables:
        return None
    if any(hasattr(value, "fit") for value in estimator.get_params(deep=False).values()):
        return None
    nameless = _sharing_copy(estimator)
    vars(nameless).pop("feature_names_in_", None)
    return nameless


def _sharing_copy(estimator: Any) -> Any:
    """A copy with the same attributes; copy.copy() would have scikit-learn compare versions, and warn."""
    copy = object.__new__(type(estimator))
    vars(copy).update(vars(estimator))
    return copy


def _answer_alike(theirs: Callable[[Any], Any], ours: Callable[[Any], Any], names: Sequence[str], dtype: str) -> bool:
    """Whether both answer generated rows alike, to the last bit: `theirs` as DataFrames, `ours` as arrays."""
    numpy, pandas = importlib.import_module("numpy"), importlib.import_module("pandas")
    random = numpy.random.default_rng(0)
    for rows in _TRIAL_ROWS:
        matrix = (random.standard_normal((len(names), rows)) * 10).astype(dtype).T
        expected, found = theirs(pandas.DataFrame(matrix, columns=list(names))), ours(matrix)
        is_array = type(found) is type(expected) is numpy.ndarray
        if not is_array or found.dtype != expected.dtype or found.tolist() != expected.tolist():
            return False
    return True
