"""A shortcut for the most frequent request: a table in JSON that is exactly what the model's signature says.

MLflow reads such a body, has pandas guess the types, casts them to the signature, and casts them once more before it
calls the model. For a table whose every value already has its column's type all of that changes nothing, and takes
several times as long as a small model does. Here such a table is made at once. Any other body gives None, and goes
MLflow's own way; so do all models whose signature says more than plain columns. What the model raises, and what becomes
of its result, is MLflow's own code in both cases.
"""

from __future__ import annotations

import importlib
import inspect
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from modelserver.errors import describe_error

MAX_BODY = 64 * 1024
"""Bytes; a larger table takes the model longer than its reading takes MLflow, and has limits to be held to."""
_MLFLOW = (3,)
"""Major versions of MLflow whose insides are known here."""
_EXACT = 2**53
"""Whole numbers up to here are the same as floats."""
# How a column of each type is made, and which values of JSON have that type already.
_RANGES = {"long": (-(2**63), 2**63 - 1, "int64"), "integer": (-(2**31), 2**31 - 1, "int32")}
_log = logging.getLogger("modelserver")
_FLOATS = {"double": "float64", "float": "float32"}


class ReadyTable(NamedTuple):
    """Stands for a body towards MLflow's scoring code: the table that was made of it."""

    frame: Any


class FastTable:
    """The shortcut for one model."""

    def __init__(self, model: Any, columns: Mapping[str, str]) -> None:
        """For a model with these columns, in the order of its signature, with their types; see `fast_table_for`."""
        self._pandas = importlib.import_module("pandas")
        self._numpy = importlib.import_module("numpy")
        self._types = dict(columns)
        self._names = list(columns)
        self.index = self._pandas.Index(self._names)
        self._is_plain = {*columns.values()} == {"double"}
        self.model = _Direct(model, self.index)

    def read(self, body: bytes) -> ReadyTable | None:
        """The table in a body, its columns as they came; None for any body that is not exactly such a table."""
        if len(body) > MAX_BODY:
            return None
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            return None
        names, rows = self._names_and_rows(document)
        if not rows:
            return None
        values = zip(names, zip(*rows))  # noqa: B905 - rows have a value for each name
        made = [self._column(self._types[name], column) for name, column in values]
        if any(column is None for column in made):
            return None
        if self._is_plain:
            index = self.index if names == self._names else self._pandas.Index(names)
            return ReadyTable(self._pandas.DataFrame(self._numpy.column_stack(made), columns=index))
        return ReadyTable(self._pandas.DataFrame(dict(zip(names, made))))  # noqa: B905 - one for each name

    def empty(self) -> ReadyTable:
        """A table without rows."""
        return ReadyTable(self._pandas.DataFrame(columns=self.index))

    def _names_and_rows(self, document: Any) -> tuple[list[str], list[list[Any]]]:
        """The columns of a table and its rows; no rows when it is not exactly such a table."""
        nothing: tuple[list[str], list[list[Any]]] = [], []
        if type(document) is not dict or len(document) != 1:
            return nothing
        ((form, table),) = document.items()
        if form == "dataframe_split" and type(table) is dict and table.keys() == {"columns", "data"}:
            names, rows = table["columns"], table["data"]
            is_table = type(names) is list and type(rows) is list and self._are_the_columns(names)
            has_all = is_table and all(type(row) is list and len(row) == len(names) for row in rows)
            return (names, rows) if has_all else nothing
        if form == "dataframe_records" and type(table) is list and table:
            if not all(type(record) is dict and record.keys() == self._types.keys() for record in table):
                return nothing
            names = list(table[0])
            return names, [[record[name] for name in names] for record in table]
        return nothing

    def _are_the_columns(self, names: list[Any]) -> bool:
        """Whether these are the model's columns, in any order."""
        if names == self._names:
            return True
        return all(type(name) is str for name in names) and sorted(names) == sorted(self._names)

    def _column(self, kind: str, values: Sequence[Any]) -> Any:
        """An array of a column's values; None when one of them would have to be converted."""
        kinds = set(map(type, values))
        if kind in _FLOATS:
            return self._numpy.array(values, dtype=_FLOATS[kind]) if _are_floats(kinds, values) else None
        if kind in _RANGES:
            low, high, dtype = _RANGES[kind]
            is_whole = kinds == {int} and low <= min(values) and max(values) <= high
            return self._numpy.array(values, dtype=dtype) if is_whole else None
        return self._numpy.array(values, dtype=bool) if kinds == {bool} else None


class _Direct:
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


def fast_table_for(model: Any, server: Any) -> FastTable | None:
    """The shortcut for `model`, behind MLflow's scoring module `server`; None where its own way is the only one."""
    try:
        columns = _columns_of(model)
        if columns is None:
            return None
        _let_tables_through(server)
        fast = FastTable(model, columns)
        return fast if _is_let_through(fast, server, model) else None
    except Exception as failure:  # noqa: BLE001 - insides of another MLflow than those known here
        _log.info("reads tables MLflow's own way: %s", describe_error(failure, where=False))
        return None


def _columns_of(model: Any) -> dict[str, str] | None:
    """The names and types of a model's columns; None when its signature says anything else, or more."""
    metadata = model.metadata
    schema = metadata.get_input_schema()
    version = importlib.import_module("mlflow").__version__
    if int(version.split(".")[0]) not in _MLFLOW or schema is None or metadata.get_params_schema() is not None:
        return None
    of_hints = metadata._is_signature_from_type_hint() or metadata._is_type_hint_from_example()
    if of_hints or schema.is_tensor_spec() or not schema.has_input_names():
        return None
    if importlib.import_module("mlflow.models.dependencies_schemas")._get_dependencies_schema_from_model(metadata):
        return None
    found = {}
    for column in schema.inputs:
        kind = getattr(column.type, "name", "")
        if not column.required or kind not in {*_FLOATS, *_RANGES, "boolean"} or column.name in found:
            return None
        found[column.name] = kind
    return found


def _let_tables_through(server: Any) -> None:
    """Has MLflow's scoring code take a table that is ready in place of a body."""
    original: Callable[..., Any] = server._parse_json_data
    if getattr(original, "takes_ready_tables", False):
        return

    def parse(data: Any, *more: Any) -> Any:
        if isinstance(data, ReadyTable):
            return server.ParsedJsonInput(data.frame, None, False)
        return original(data, *more)

    parse.takes_ready_tables = True  # type: ignore[attr-defined]  # a mark on a function
    server._parse_json_data = parse


def _is_let_through(fast: FastTable, server: Any, model: Any) -> bool:
    """Whether a table reaches the model as it is: tried with one of no rows that only comes as far as to a stand-in."""
    table = fast.empty()
    reached = []

    class StandIn:
        metadata = model.metadata

        def predict(self, data: Any, params: Any = None) -> list[Any]:
            reached.append((data, params))
            return []

    result = server.invocations(table, "application/json", StandIn(), model.metadata.get_input_schema())
    return result.status == 200 and len(reached) == 1 and reached[0][0] is table.frame and reached[0][1] is None


def _are_floats(kinds: set[type], values: Sequence[Any]) -> bool:
    """Whether all values are finite numbers that floats hold exactly as JSON has them."""
    if kinds == {float}:
        return all(map(math.isfinite, values))
    if not kinds <= {float, int}:
        return False
    return all(abs(value) <= _EXACT if type(value) is int else math.isfinite(value) for value in values)
