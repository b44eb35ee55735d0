"""Finds where the model's own code begins, behind all that MLflow checks and converts, and has it noted.

MLflow calls `PyFuncModel._predict_fn` when the signature has let a request through: the predict of a flavour. With a
PythonModel that is still MLflow's: it converts, and since 2.20 it has put a function around the author's own predict
that enforces type hints. Only what that function calls is the model's.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from http import HTTPStatus
from types import CellType
from typing import Any

from modelserver.model.progress import following

# Where MLflow's own implementations keep what its author wrote; a function in place of a class is in `func`.
_HOLDERS = ("python_model", "chat_model", "chat_agent", "responses_agent")


def watch(model: Any, refusal: type[Exception]) -> None:
    """Has every request noted that reaches the own code of `model`, a PyFuncModel of MLflow 2.6 or newer.

    An exception of type `refusal` with status 400 that comes out of it is a refusal of the request.
    """

    def noting(predict: Callable[..., Any]) -> Callable[..., Any]:
        return _noting(predict, refusal)

    author = _by_its_author(model._model_impl)
    if author is None or not (_watch(author, "predict", noting) or _watch(author, "func", noting)):
        model._predict_fn = noting(model._predict_fn)


def _by_its_author(implementation: Any) -> Any:
    """The PythonModel inside of MLflow's `implementation`, or None when it is of another flavour."""
    if not type(implementation).__module__.startswith("mlflow.pyfunc"):
        return None
    return next((getattr(implementation, name) for name in _HOLDERS if hasattr(implementation, name)), None)


def _watch(author: Any, name: str, noting: Callable[[Callable[..., Any]], Callable[..., Any]]) -> bool:
    """Puts `noting` around the outermost function of `author.<name>` that is not MLflow's; whether there is one."""
    method = getattr(author, name, None)
    own: Any = getattr(method, "__func__", method)
    around = None
    while _is_mlflows(own) and hasattr(own, "__wrapped__"):
        around, own = own, own.__wrapped__
    if not callable(own) or _is_mlflows(own):
        return False
    if around is None:
        setattr(author, name, noting(method))  # type: ignore[arg-type]  # callable: it is `own`, or bound to it
        return True
    cell = _cell(around, own)
    if cell is None:
        return False
    cell.cell_contents = noting(own)
    return True


def _is_mlflows(function: Any) -> bool:
    """By the module that it was written in: `__module__` is that of what it wraps."""
    module = str(getattr(function, "__globals__", {}).get("__name__", ""))
    return module.partition(".")[0] == "mlflow"


def _cell(around: Any, inner: Any) -> CellType | None:
    """From where `around` takes the function that it calls."""
    return next((cell for cell in around.__closure__ or () if cell.cell_contents is inner), None)


def _noting(predict: Callable[..., Any], refusal: type[Exception]) -> Callable[..., Any]:
    # Wrapped, so that MLflow sees the same parameters and hints.
    @functools.wraps(predict)
    def noted(*args: Any, **kwargs: Any) -> Any:
        request = following()
        if request is None:
            return predict(*args, **kwargs)
        request.enter()
        try:
            answer = predict(*args, **kwargs)
        except BaseException as failure:
            request.fail(refused=isinstance(failure, refusal) and _status(failure) == HTTPStatus.BAD_REQUEST)
            raise
        request.leave()
        return answer

    return noted


def _status(failure: Any) -> int:
    return int(failure.get_http_status_code())
