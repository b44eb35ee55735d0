"""Finds where the model's own code begins, behind all that MLflow checks and converts, and marks that place.

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

from modelserver.model.progress import current_requests

Predict = Callable[..., Any]

# Where MLflow's own implementations keep what its author wrote; a function in place of a class is in `func`.
_HOLDERS = ("python_model", "chat_model", "chat_agent", "responses_agent")


def mark_entrance(model: Any, mlflow_exception: type[Exception]) -> None:
    """Has every request noted that reaches the own code of `model`, a PyFuncModel of MLflow 2.6 or newer.

    A `mlflow_exception` with status 400 that the model's own code raises is noted as a refusal of the request.
    """

    def mark(predict: Predict) -> Predict:
        return marked(predict, mlflow_exception)

    author = _authors_object(model._model_impl)
    is_marked = author is not None and (_mark_method(author, "predict", mark) or _mark_method(author, "func", mark))
    if not is_marked:
        # One step further out: MLflow's conversions then count as the model's own code.
        model._predict_fn = mark(model._predict_fn)


def _authors_object(implementation: Any) -> Any:
    """The PythonModel inside of MLflow's `implementation`, or None when it is of another flavour."""
    if not type(implementation).__module__.startswith("mlflow.pyfunc"):
        return None
    return next((getattr(implementation, name) for name in _HOLDERS if hasattr(implementation, name)), None)


def _mark_method(author: Any, name: str, mark: Callable[[Predict], Predict]) -> bool:
    """Marks the outermost function of `author.<name>` that is not MLflow's; whether there is one."""
    method = getattr(author, name, None)
    own: Any = getattr(method, "__func__", method)
    wrapper = None
    while _is_mlflows(own) and hasattr(own, "__wrapped__"):
        wrapper, own = own, own.__wrapped__
    if not callable(own) or _is_mlflows(own):
        return False
    if wrapper is None:
        setattr(author, name, mark(method))  # type: ignore[arg-type]  # callable: it is `own`, or bound to it
        return True
    # MLflow's wrapper holds the author's function in its closure and nowhere else, so that is where it is replaced.
    cell = _closure_cell(wrapper, own)
    if cell is None:
        return False
    cell.cell_contents = mark(own)
    return True


def _is_mlflows(function: Any) -> bool:
    """Whether MLflow's authors wrote it."""
    # By the module that its code is from: functools.wraps has given it the `__module__` of what it wraps.
    module = str(getattr(function, "__globals__", {}).get("__name__", ""))
    return module.partition(".")[0] == "mlflow"


def _closure_cell(wrapper: Any, inner: Any) -> CellType | None:
    """The cell from which `wrapper` takes the function that it calls."""
    return next((cell for cell in wrapper.__closure__ or () if cell.cell_contents is inner), None)


def marked(predict: Predict, mlflow_exception: type[Exception]) -> Predict:
    """`predict`, the model's own code, with every request noted that reaches it; see `mark_entrance`."""

    # functools.wraps, so that MLflow sees the same parameters and hints.
    @functools.wraps(predict)
    def predict_and_note(*args: Any, **kwargs: Any) -> Any:
        requests = current_requests()
        for request in requests:
            request.enter_model()
        try:
            answer = predict(*args, **kwargs)
        except BaseException as failure:
            is_refusal = isinstance(failure, mlflow_exception) and _http_status(failure) == HTTPStatus.BAD_REQUEST
            for request in requests:
                request.model_raised(refused=is_refusal)
            raise
        for request in requests:
            request.leave_model()
        return answer

    return predict_and_note


def _http_status(failure: Any) -> int:
    return int(failure.get_http_status_code())
