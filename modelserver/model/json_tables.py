"""Says what pandas makes a table of in a JSON request to /invocations, and how large that table is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

from modelserver.model.diagnosis import has_type_hints

# Keys of a request whose values are always tables, and those whose values are tables for some models.
_TABLE_KEYS = ("dataframe_split", "dataframe_records")
_INPUT_KEYS = ("instances", "inputs")
# A request with one of these is a table itself: each of its keys is a column.
_UNWRAPPED_KEYS = {"messages", "prompt", "input"}
# Of a table that is sent as `dataframe_split`.
_SPLIT_KEYS = {"data", "columns", "index"}


@dataclass(frozen=True)
class TableInputs:
    """What of `inputs` and `instances` MLflow makes a table of for one model, and so looks larger than it is sent."""

    records: bool
    """A list of objects: for a schema of columns, and without one, where the model's own code may do it."""
    rows: bool
    """A list of other lists: for a schema of several plain columns. One column, an array too, takes it as it is."""
    columns: bool
    """An object: each of its keys is a column, for a schema of columns."""
    one_row: bool
    """An object is one row of them: columns may be arrays and objects."""


class Size(NamedTuple):
    """The size of a table that pandas would make, and how many values were sent for it."""

    rows: int
    columns: int
    values: int


def table_inputs(metadata: Any) -> TableInputs:
    """What MLflow makes of requests to the model with this metadata; of tensors and of type hints it makes no table."""
    schema = metadata.get_input_schema()
    is_tensor = schema is not None and schema.is_tensor_spec()
    if has_type_hints(metadata) or is_tensor:
        return TableInputs(records=False, rows=False, columns=False, one_row=False)
    if schema is None:
        return TableInputs(records=True, rows=False, columns=False, one_row=False)
    is_nested = any(type(column.type).__name__ in ("Array", "Object") for column in schema.inputs)
    is_single = schema.has_input_names() and len(schema.inputs) == 1
    return TableInputs(records=True, rows=not is_nested and not is_single, columns=True, one_row=is_nested)


def tables_of(request: dict[str, Any], inputs: TableInputs) -> list[Any]:
    """What becomes a table of a request, in the form in which it was sent."""
    tables = [request[key] for key in _TABLE_KEYS if key in request]
    for key in _INPUT_KEYS:
        table = _table_of_input(request.get(key), inputs)
        if table is not None:
            tables.append(table)
    if inputs.columns and request.keys() & _UNWRAPPED_KEYS:
        tables.append(_table_of_unwrapped(request, inputs))
    return tables


def _table_of_input(value: Any, inputs: TableInputs) -> Any:
    """What becomes a table of the value of `inputs` or `instances`; None when MLflow makes none of it."""
    if isinstance(value, list):
        return value if _is_table(value, inputs) else None
    if isinstance(value, dict) and inputs.columns:
        return [value] if inputs.one_row else value
    return None


def _is_table(rows: list[Any], inputs: TableInputs) -> bool:
    return inputs.rows or (inputs.records and any(isinstance(row, dict) for row in rows))


def _table_of_unwrapped(request: dict[str, Any], inputs: TableInputs) -> Any:
    """What becomes of a request whose keys are columns: of texts alone one row, else a row for each value."""
    cells = chain.from_iterable(map(_cells, request.values()))
    is_one_row = inputs.one_row or all(isinstance(cell, str) for cell in cells)
    return [request] if is_one_row else request


def _cells(column: Any) -> list[Any]:
    """The values of a column; one that is repeated for each row counts as none."""
    if isinstance(column, list):
        return column
    return [column] if isinstance(column, dict) else []


def named_columns(table: Any) -> int:
    """How many columns `table` has that have a name."""
    if isinstance(table, list):
        return len(set(chain.from_iterable(row for row in table if isinstance(row, Mapping))))
    if not isinstance(table, dict):
        return 0
    return _length(table.get("columns")) if table.keys() <= _SPLIT_KEYS else len(table)


def size_of(table: Any) -> Size:
    """The size of the table that pandas makes of `table`."""
    if isinstance(table, list):
        return _size_of_rows(table)
    if not isinstance(table, dict):
        return Size(0, 0, 0)
    data = table.get("data")
    if isinstance(data, list) and table.keys() <= _SPLIT_KEYS:
        size = _size_of_rows(data)
        rows = max(size.rows, _length(table.get("index")))
        return Size(rows, max(size.columns, _length(table.get("columns"))), size.values)
    lengths = [_length(column) for column in table.values()]
    # Columns that are objects name their rows: the table has one of each name.
    row_names = set(chain.from_iterable(column for column in table.values() if isinstance(column, dict)))
    return Size(max([len(row_names), *lengths]), len(lengths), sum(lengths))


def _size_of_rows(rows: list[Any]) -> Size:
    lengths = [_length(row) for row in rows]
    return Size(len(rows), max(named_columns(rows), max(lengths, default=0)), sum(lengths))


def _length(value: Any) -> int:
    return len(value) if isinstance(value, (list, dict)) else 1
