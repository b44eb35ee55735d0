"""Answers tables that are exactly what the signature says, one by one or several at once, as MLflow would."""

from __future__ import annotations

import importlib
import io
import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

from modelserver.errors import describe_error
from modelserver.model.array_model import array_predict_for
from modelserver.model.direct_model import DirectModel, ReadyTable, is_let_through, let_tables_through
from modelserver.model.entrance import marked
from modelserver.model.fast_table import FastTable, Table, columns_of

_MAX_ITEM_BYTES = 8
"""Of a number that numpy gives to Python as it is."""
_log = logging.getLogger("modelserver")


class FastScoring:
    """The shortcut for one model."""

    def __init__(self, model: Any, server: Any, columns: dict[str, str]) -> None:
        """For `model`, whose signature is these columns with their types, behind MLflow's scoring module `server`."""
        self._numpy = importlib.import_module("numpy")
        self._pandas = importlib.import_module("pandas")
        self.tables = FastTable(columns)
        self.model = DirectModel(model, self.tables.index)
        self._write: Callable[[Any, io.StringIO], None] = server.predictions_to_json
        predict = None
        if self.tables.dtype is not None:
            predict = array_predict_for(model, list(columns), self.tables.dtype)
        self._predict_array = None if predict is None else marked(predict, server.MlflowException)

    def read(self, document: Any) -> Table | None:
        """The table in a document of JSON, where there is a shortcut for it."""
        table = self.tables.read(document)
        # A model that takes DataFrames may fail, and MLflow then shows the request in the form in which it came.
        is_shown_as_it_came = table is None or table.came_as_table or self._predict_array is not None
        return table if is_shown_as_it_came else None

    def ready(self, table: Table) -> ReadyTable | None:
        """The table for MLflow's scoring code; None where the body has to go there as it came."""
        if not table.came_as_table:
            return None
        return ReadyTable(self.tables.frame(table))

    def answer(self, table: Table) -> str | None:
        """The answer of a model that takes arrays; None where MLflow's scoring code has to give it."""
        if self._predict_array is None:
            return None
        try:
            return self._text(self._predict_array(self.tables.matrix(table)))
        except Exception:  # noqa: BLE001 - the model is asked again with a DataFrame, and what it raises then is answered
            return None

    def answer_together(self, tables: Sequence[Table]) -> list[str] | None:
        """The answers to several tables, which the model is given as one.

        None where it does not answer with a value for each row: then each has to be asked by itself. Raises what the
        model raises.
        """
        joined = self.tables.joined(tables)
        if self._predict_array is not None:
            predictions = self._predict_array(self.tables.matrix(joined))
        else:
            predictions = self.model.predict(self.tables.frame(joined))
        if not self._has_value_for_each_row(predictions, joined.rows):
            return None
        texts, start = [], 0
        for table in tables:
            texts.append(self._text(self._part(predictions, start, start + table.rows)))
            start += table.rows
        return texts

    def _has_value_for_each_row(self, predictions: Any, rows: int) -> bool:
        if isinstance(predictions, (self._pandas.DataFrame, self._pandas.Series)):
            return len(predictions) == rows
        return type(predictions) in (list, self._numpy.ndarray) and len(predictions) == rows

    def _part(self, predictions: Any, start: int, end: int) -> Any:
        if isinstance(predictions, (self._pandas.DataFrame, self._pandas.Series)):
            return predictions.iloc[start:end].reset_index(drop=True)
        return predictions[start:end]

    def _text(self, predictions: Any) -> str:
        """What MLflow writes of these predictions."""
        if self._is_plain_array(predictions):
            return json.dumps({"predictions": predictions.tolist()})
        result = io.StringIO()
        self._write(predictions, result)
        return result.getvalue()

    def _is_plain_array(self, predictions: Any) -> bool:
        if type(predictions) is not self._numpy.ndarray:
            return False
        return predictions.dtype.kind in "biuf" and predictions.dtype.itemsize <= _MAX_ITEM_BYTES


def fast_scoring_for(model: Any, server: Any) -> FastScoring | None:
    """The shortcut for `model`, behind MLflow's scoring module `server`; None where its own way is the only one."""
    try:
        columns = columns_of(model)
        if columns is None:
            return None
        let_tables_through(server)
        fast = FastScoring(model, server, columns)
        empty = ReadyTable(importlib.import_module("pandas").DataFrame(columns=fast.tables.index))
        return fast if is_let_through(empty, server, model) else None
    except Exception as failure:  # noqa: BLE001 - insides of another MLflow than those known here
        _log.info("reads tables MLflow's own way: %s", describe_error(failure, where=False))
        return None
