"""Loads the model with MLflow and says in one sentence why that failed."""

from __future__ import annotations

import importlib
import itertools
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from modelserver.errors import CannotServeError, describe_error, model_error
from modelserver.garbage import imports_stay
from modelserver.model.invocations import import_scoring_server
from modelserver.model.tracing import Tracing

_CONFIG_VARIABLE = "SERVING_MODEL_CONFIG"


def load_model(model_dir: Path, tracing: Tracing) -> Any:
    """The loaded pyfunc model of `model_dir`. Raises CannotServeError whatever the model's code does."""
    if not (model_dir / "MLmodel").is_file():
        raise CannotServeError(f"cannot load the model: {model_dir} has no MLmodel file; fetch the release again")
    with imports_stay():
        pyfunc = _import_mlflow()
        server = import_scoring_server()
    _name_code_alike()
    tracing.enforce()
    _check_config()
    # Newer MLflows read SERVING_MODEL_CONFIG themselves, in a function of their own.
    mlflow_load_model = getattr(server, "load_model_with_mlflow_config", pyfunc.load_model)
    try:
        model = mlflow_load_model(str(model_dir))
    except (Exception, SystemExit) as error:  # SystemExit: a model's code may well say sys.exit() where it fails
        is_missing = isinstance(model_error(error), ModuleNotFoundError)
        what = "add the package to its requirements (or the module to its code_paths)" if is_missing else "correct it"
        raise CannotServeError(
            f"cannot load the model: {describe_error(error)}; {what} and register a new version"
        ) from error
    tracing.enforce()  # again: the model's code may have switched traces on
    return model


def _import_mlflow() -> Any:
    try:
        return importlib.import_module("mlflow.pyfunc")
    except ImportError as error:
        raise CannotServeError(
            f"cannot import MLflow: {describe_error(error, where=False)}; "
            "add the missing package to the model's requirements"
        ) from error


def _check_config() -> None:
    """Raises CannotServeError when the environment has a configuration of the model that is not an object of JSON."""
    text = os.environ.get(_CONFIG_VARIABLE)
    try:
        is_usable = not text or isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        is_usable = False
    if not is_usable:
        raise CannotServeError(
            f"cannot load the model: {_CONFIG_VARIABLE} is not a JSON object; correct it in the server's environment"
        )


def _name_code_alike() -> None:
    """Has MLflow give a model's own code the same module name in each process, by counting.

    MLflow draws that name at random. What numba keeps of a function (`@njit(cache=True)`) names its module, so a later
    process could not load it.
    """
    utils = importlib.import_module("mlflow.models.utils")
    drawn = getattr(utils, "uuid", None)
    if drawn is None or not hasattr(drawn, "uuid4"):
        return  # an MLflow that draws no names
    numbers = itertools.count(1)
    utils.uuid = SimpleNamespace(**{**vars(drawn), "uuid4": lambda: drawn.UUID(int=next(numbers))})  # type: ignore[attr-defined]  # a module's global
