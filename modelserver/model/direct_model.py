"""Hands tables that were read already to the model: past MLflow's checks, and through its scoring code."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple


class ReadyTable(NamedTuple):
    """Stands for a body towards MLflow's scoring code: the DataFrame that was made of it."""

    frame: Any


class DirectModel:
    """A model as MLflow's scoring code sees it, which is called with a table that needs no check any more."""

    def __init__(self, model: Any, index: Any) -> None:
        """`index`: the columns in the order of the signature."""
        context = importlib.import_module("mlflow.pyfunc.context")
        self._context, self._set_context = context.Context, context.set_prediction_context
        self._model = model
        self._index = index
        self.metadata = model.metadata
        parameter = inspect.signature(model._predict_fn).parameters.get("params")
        self._takes_params = parameter is not None and parameter.kind is not inspect.Parameter.VAR_KEYWORD

    def predict(self, data: Any, params: Any = None) -> Any:
        """What the model answers, as `PyFuncModel.predict` calls it."""
        # The words of an error show the table as it came, so that it is put in order here only.
        if not data.columns.equals(self._index):
            data = data[self._index]
        context = self._context()
        if self._model.model_id:
            context.update(model_id=self._model.model_id)
        with self._set_context(context):
            if self._takes_params:
                return self._model._predict_fn(data, params=params)
            return self._model._predict_fn(data)


def let_tables_through(server: Any) -> None:
    """Has MLflow's scoring module `server` take a ReadyTable in place of a body."""
    original: Callable[..., Any] = server._parse_json_data
    if getattr(original, "takes_ready_tables", False):
        return

    def parse(data: Any, *more: Any) -> Any:
        if isinstance(data, ReadyTable):
            return server.ParsedJsonInput(data.frame, None, False)
        return original(data, *more)

    parse.takes_ready_tables = True  # type: ignore[attr-defined]  # a mark on a function
    server._parse_json_data = parse


def is_let_through(table: ReadyTable, server: Any, model: Any) -> bool:
    """Whether a table without rows reaches the model as it is: tried with a stand-in for `model`."""
    reached = []

    class StandIn:
        metadata = model.metadata

        def predict(self, data: Any, params: Any = None) -> list[Any]:
            reached.append((data, params))
            return []

    result = server.invocations(table, "application/json", StandIn(), model.metadata.get_input_schema())
    return result.status == 200 and len(reached) == 1 and reached[0][0] is table.frame and reached[0][1] is None
