"""Loads the model with MLflow and says in one sentence why that failed."""

from __future__ import annotations

import importlib
import json
import os
from pathlib import Path
from typing import Any

from modelserver.errors import CannotServeError, cause, describe
from modelserver.model.invocations import scoring_server
from modelserver.model.tracing import Tracing

_CONFIG = "SERVING_MODEL_CONFIG"


def load(model_dir: Path, tracing: Tracing) -> Any:
    """The loaded pyfunc model of `model_dir`. Raises CannotServeError whatever the model's code does."""
    if not (model_dir / "MLmodel").is_file():
        raise CannotServeError(f"cannot load the model: {model_dir} has no MLmodel file; fetch the release again")
    try:
        pyfunc = importlib.import_module("mlflow.pyfunc")
    except ImportError as error:
        raise CannotServeError(
            f"cannot import MLflow: {describe(error, where=False)}; add the missing package to the model's requirements"
        ) from error
    server = scoring_server()
    tracing.settle()
    _check_config()
    # MLflow reads the variable itself where it knows it.
    load_model = getattr(server, "load_model_with_mlflow_config", pyfunc.load_model)
    try:
        model = load_model(str(model_dir))
    except (Exception, SystemExit) as error:
        missing = isinstance(cause(error), ModuleNotFoundError)
        what = "add the package to its requirements (or the module to its code_paths)" if missing else "correct it"
        raise CannotServeError(
            f"cannot load the model: {describe(error)}; {what} and register a new version"
        ) from error
    tracing.settle()
    return model


def _check_config() -> None:
    """Raises CannotServeError when the configuration of the model that its environment has is not JSON's object."""
    text = os.environ.get(_CONFIG)
    try:
        usable = not text or isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        usable = False
    if not usable:
        raise CannotServeError(
            f"cannot load the model: {_CONFIG} is not a JSON object; correct it in the server's environment"
        )
