"""Loads the model with MLflow and says in one sentence why that failed."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from modelserver.failure import CannotServeError, cause, describe
from modelserver.scoring import scoring_server


def load(model_dir: Path) -> Any:
    """The loaded pyfunc model of `model_dir`. Raises CannotServeError whatever the model's code does."""
    if not (model_dir / "MLmodel").is_file():
        raise CannotServeError(f"cannot load the model: {model_dir} has no MLmodel file; fetch the release again")
    try:
        pyfunc = importlib.import_module("mlflow.pyfunc")
    except ImportError as error:
        raise CannotServeError(
            f"cannot import MLflow: {describe(error, where=False)}; add the missing package to the model's requirements"
        ) from error
    scoring_server()
    try:
        return pyfunc.load_model(str(model_dir))
    except (Exception, SystemExit) as error:
        missing = isinstance(cause(error), ModuleNotFoundError)
        what = "add the package to its requirements (or the module to its code_paths)" if missing else "correct it"
        raise CannotServeError(
            f"cannot load the model: {describe(error)}; {what} and register a new version"
        ) from error
