"""Reads the most frequent request at once: a table in JSON that is exactly what the model's signature says.

MLflow reads such a body, has pandas guess the types, casts them to the signature, and casts them once more before it
calls the model. For a table whose every value already has its column's type all of that changes nothing, and takes
several times as long as a small model does. Any other body gives None, and goes MLflow's own way; so do all models
whose signature says more than plain columns.
"""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

MAX_BODY = 1 << 20
"""Bytes; a larger table has limits to be held to, which reading it would take memory to find out."""
_MLFLOW = (3,)
"""Major versions of MLflow whose insides are known here."""
_EXACT = 2**53
"""Whole numbers up to here are the same as floats."""
# How a column of each type is made, and which values of JSON have that type already.
_RANGES = {"long": (-(2**63), 2**63 - 1, "int64"), "integer": (-(2**31), 2**31 - 1, "int32")}
_FLOATS = {"double": "float64", "float": "float32"}


_NamesAndRows = tuple[list[str], Sequence[Sequence[Any]]]


class Table(NamedTuple):
    """A table that was read: its columns in the order in which they came."""

    names: Sequence[str]
    columns: Sequence[Any]
    """One array for each name, all of the same length; the rows of one matrix where all have one type."""
    row_names: Sequence[int] | None = None
    """What its rows are called; None where they are only counted."""
    came_as_table: bool = True
    """Whether MLflow would show it as a DataFrame in its errors; else it came as "inputs" or "instances"."""

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return len(self.columns[0])


class FastTable:
    """The reading of tables for one model."""

    def __init__(self, columns: Mapping[str, str]) -> None:
        """For a model with these columns, in the order of its signature, with their types; see `columns_of`."""
        self._pandas = importlib.import_module("pandas")
        self._numpy = importlib.import_module("numpy")
        self._types = dict(columns)
        self._names = list(columns)
        kinds = {*columns.values()}
        self.dtype = _FLOATS.get(next(iter(kinds))) if len(kinds) == 1 else None
        """The type of all columns where they are floats of one type, else None."""
        self.index = self._pandas.Index(self._names)

    def read(self, document: Any) -> Table | None:
        """The table in a document of JSON; None for any that is not exactly such a table."""
        if type(document) is not dict or len(document) != 1:
            return None
        ((form, content),) = document.items()
        is_split = form == "dataframe_split" and type(content) is dict
        index = content.get("index") if is_split else None
        names, rows = self._split(content) if is_split else self._unsplit(form, content)
        if not rows or not _is_index(index, len(rows)):
            return None
        came_as_table = form.startswith("dataframe_")
        if self.dtype is not None and _are_finite(rows):
            # Columns lie one behind the other, as in the tables that MLflow makes: a model that adds up what it is
            # given in the order of memory gives the same last digit.
            return Table(names, self._numpy.array(rows, dtype=self.dtype).T.copy(order="C"), index, came_as_table)
        values = zip(names, zip(*rows))  # noqa: B905 - rows have a value for each name
        columns = [self._column(self._types[name], column) for name, column in values]
        return None if any(column is None for column in columns) else Table(names, columns, index, came_as_table)

    def in_order(self, table: Table) -> Table:
        """`table` with its columns in the order of the signature."""
        if table.names == self._names:
            return table
        found = dict(zip(table.names, table.columns))  # noqa: B905 - one for each name
        return table._replace(names=self._names, columns=[found[name] for name in self._names])

    def joined(self, tables: Sequence[Table]) -> Table:
        """The rows of several tables in one, in the order of the signature; their names are not kept."""
        ordered = map(self.in_order, tables)
        columns = zip(*(table.columns for table in ordered))  # noqa: B905 - each has all columns
        return Table(self._names, [self._numpy.concatenate(parts) for parts in columns])

    def matrix(self, table: Table) -> Any:
        """A float array of shape (rows, columns), columns in the order of the signature, for a table of one `dtype`."""
        columns = self.in_order(table).columns
        return (columns if isinstance(columns, self._numpy.ndarray) else self._numpy.array(columns)).T

    def frame(self, table: Table) -> Any:
        """A DataFrame with the columns as they came."""
        index = self.index if table.names == self._names else self._pandas.Index(table.names)
        if isinstance(table.columns, self._numpy.ndarray):
            return self._pandas.DataFrame(table.columns.T, columns=index, index=table.row_names)
        columns = dict(zip(table.names, table.columns))  # noqa: B905 - one for each name
        return self._pandas.DataFrame(columns, index=table.row_names)

    def _split(self, content: dict[str, Any]) -> _NamesAndRows:
        """The columns of a table in parts, and its rows; no rows when it is not exactly such a table."""
        names: Any = content.get("columns")
        rows: Any = content.get("data")
        is_table = type(names) is list and type(rows) is list and content.keys() <= {"columns", "data", "index"}
        if not is_table or not self._are_the_columns(names):
            return [], []
        has_all = all(type(row) is list and len(row) == len(names) for row in rows)
        return (names, rows) if has_all else ([], [])

    def _unsplit(self, form: str, content: Any) -> _NamesAndRows:
        """The same for a list of records, and for an object of columns."""
        if form not in ("dataframe_records", "inputs", "instances") or not content:
            return [], []
        if type(content) is list and all(type(row) is dict and row.keys() == self._types.keys() for row in content):
            names = list(content[0])
            return names, [[record[name] for name in names] for record in content]
        is_of_columns = form != "dataframe_records" and type(content) is dict and content.keys() == self._types.keys()
        if not is_of_columns or not all(type(column) is list for column in content.values()):
            return [], []
        if len({*map(len, content.values())}) != 1:
            return [], []
        return list(content), list(zip(*content.values()))  # noqa: B905 - all of one length

    def _are_the_columns(self, names: Any) -> bool:
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


def columns_of(model: Any) -> dict[str, str] | None:
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


def parse(body: bytes) -> Any:
    """What a body of JSON says; None for one that is too large for the shortcut, or says nothing."""
    if len(body) > MAX_BODY:
        return None
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _is_index(index: Any, rows: int) -> bool:
    """Whether it is no index, or one of whole numbers, as pandas writes it by itself."""
    if index is None:
        return True
    is_whole = type(index) is list and len(index) == rows and set(map(type, index)) == {int}
    return is_whole and min(index) >= -_EXACT and max(index) <= _EXACT


def _are_finite(rows: Sequence[Sequence[Any]]) -> bool:
    """Whether all values are finite floats; whole numbers among them are for `_column` to look at."""
    if set(map(type, chain.from_iterable(rows))) != {float}:
        return False
    return all(map(math.isfinite, chain.from_iterable(rows)))


def _are_floats(kinds: set[type], values: Sequence[Any]) -> bool:
    """Whether all values are finite numbers that floats hold exactly as JSON has them."""
    if kinds == {float}:
        return all(map(math.isfinite, values))
    if not kinds <= {float, int}:
        return False
    return all(abs(value) <= _EXACT if type(value) is int else math.isfinite(value) for value in values)
