"""Refuses bodies of /invocations that pandas would turn into something far larger, or far slower, than their text.

Measured with pandas 3: 50 kB of records without a common key became 187 MB, 240 kB of equal column names took 50 s;
both grow with the square of the text. What is refused here no model was ever trained on.
"""

from __future__ import annotations

import csv
import importlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

_MOST_CONTAINERS = 1_000_000  # lists and objects; each takes about 200 bytes, however short its text
_PIECE = 1 << 20
_FEW_CELLS = 1_000_000
_SPARSE = 4  # cells for each value that was sent
_MANY_COLUMNS = 1000
_MOST_COLUMNS = 50_000  # pandas and MLflow take about 0.2 ms for each, however few the rows
_MOST_DECODED = 512 << 20  # bytes of a Parquet table in memory; a file of a few hundred bytes may be gigabytes
_MOST_CELLS = 20_000_000

_DEEP = "cannot read the request: its JSON is nested too deeply"
_CONTAINERS = (
    f"cannot read the request: its JSON has more than {_MOST_CONTAINERS} lists and objects; "
    "send it as CSV, as Parquet, or in parts"
)
_SPARSELY = "cannot read the request: most of its table would be empty; give the same columns to each row"
_WIDE = f"cannot read the request: its table has more than {_MOST_COLUMNS} columns"
_LARGE = "cannot read the request: its Parquet table is too large in memory; send it in parts"
_COLUMNS = f"cannot read the request: more than {_MANY_COLUMNS} columns, and some have the same name"


@dataclass(frozen=True)
class Taken:
    """What of `inputs` and `instances` MLflow makes a table of for one model, and so looks larger than it is sent."""

    records: bool
    """A list of objects: for a schema of columns, and without one, where the model's own code may do it."""
    rows: bool
    """A list of other lists: for a schema of several plain columns. One column, an array too, takes it as it is."""
    columns: bool
    """An object: each of its keys is a column, for a schema of columns."""
    one_row: bool
    """It is one row of them: columns may be arrays and objects."""


def taken(metadata: Any) -> Taken:
    """What MLflow makes of requests to the model with this metadata; of tensors and of type hints it makes no table."""
    schema = metadata.get_input_schema()
    hinted = getattr(metadata, "_is_signature_from_type_hint", None)  # MLflow before 2.20 has none
    if (hinted is not None and hinted()) or (schema is not None and schema.is_tensor_spec()):
        return Taken(records=False, rows=False, columns=False, one_row=False)
    if schema is None:
        return Taken(records=True, rows=False, columns=False, one_row=False)
    nested = any(type(column.type).__name__ in ("Array", "Object") for column in schema.inputs)
    alone = schema.has_input_names() and len(schema.inputs) == 1
    return Taken(records=True, rows=not nested and not alone, columns=True, one_row=nested)


def refusal(body: bytes, mime_type: str, takes: Taken) -> str | None:
    """Why this body is refused before MLflow sees it, as a sentence; None when it is MLflow's to judge."""
    if mime_type == "application/json":
        return _of_json(body, takes)
    if mime_type == "application/vnd.apache.parquet":
        return _of_parquet(body)
    return _of_csv(body) if mime_type == "text/csv" else None


def _of_json(body: bytes, takes: Taken) -> str | None:
    if _brackets(body) > _MOST_CONTAINERS and _brackets_of_lists(body) > _MOST_CONTAINERS:
        return _CONTAINERS
    try:
        parsed = json.loads(body)
    except RecursionError:
        return _DEEP
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None  # MLflow has its own words for it
    except ValueError as failure:
        return f"cannot read the request: its JSON has a number that is too long ({failure})"
    if not isinstance(parsed, dict):
        return None
    tables = list(_tables(parsed, takes))
    if any(_names(table) > _MOST_COLUMNS for table in tables):
        return _WIDE
    return _SPARSELY if any(_sparse(*_extent(table)) for table in tables) else None


def _brackets(text: bytes) -> int:
    return text.count(b"[") + text.count(b"{")


def _brackets_of_lists(body: bytes) -> int:
    """How many are not within strings; all of them where it is no UTF-8, whose quotation marks may be others."""
    if b"\0" in body:
        return _brackets(body)
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    count, within = 0, False
    # In pieces: parted as a whole, a body of quotation marks would take a hundred times its size.
    for start in range(0, len(plain), _PIECE):
        parts = plain[start : start + _PIECE].split(b'"')
        count += _brackets(b"".join(parts[within::2]))
        within ^= len(parts) % 2 == 0
    return count


def _tables(parsed: dict[str, Any], takes: Taken) -> Iterator[Any]:
    """What becomes a table of a request."""
    yield from (parsed[key] for key in ("dataframe_split", "dataframe_records") if key in parsed)
    for value in (parsed[key] for key in ("instances", "inputs") if key in parsed):
        if isinstance(value, list):
            if takes.rows or (takes.records and any(isinstance(row, dict) for row in value)):
                yield value
        elif isinstance(value, dict) and takes.columns:
            yield [value] if takes.one_row else value
    if takes.columns and parsed.keys() & _UNWRAPPED:
        plain = all(isinstance(cell, str) for column in parsed.values() for cell in _cells(column))
        yield [parsed] if takes.one_row or plain else parsed


_UNWRAPPED = {"messages", "prompt", "input"}
_SPLIT = {"data", "columns", "index"}


def _cells(column: Any) -> list[Any]:
    """The values of a column; one that is repeated for each row counts as none."""
    return column if isinstance(column, list) else [column] if isinstance(column, dict) else []


def _names(table: Any) -> int:
    """How many columns `table` has that have a name."""
    if isinstance(table, list):
        return len(set(chain.from_iterable(row for row in table if isinstance(row, Mapping))))
    if not isinstance(table, dict):
        return 0
    return _length(table.get("columns")) if table.keys() <= _SPLIT else len(table)


def _sparse(rows: int, columns: int, values: int) -> bool:
    return rows * columns > max(_FEW_CELLS, _SPARSE * values)


def _extent(table: Any) -> tuple[int, int, int]:
    """Rows and columns of the table that is made of `table`, and how many values were sent for it."""
    if isinstance(table, list):
        return _extent_of_rows(table)
    if not isinstance(table, dict):
        return 0, 0, 0
    data = table.get("data")
    if isinstance(data, list) and table.keys() <= _SPLIT:
        rows, columns, values = _extent_of_rows(data)
        return max(rows, _length(table.get("index"))), max(columns, _length(table.get("columns"))), values
    lengths = [_length(column) for column in table.values()]
    # Columns that are objects name their rows: there is one of each name.
    named = set(chain.from_iterable(column for column in table.values() if isinstance(column, dict)))
    return max([len(named), *lengths]), len(lengths), sum(lengths)


def _extent_of_rows(rows: list[Any]) -> tuple[int, int, int]:
    lengths = [_length(row) for row in rows]
    return len(rows), max(_names(rows), max(lengths, default=0)), sum(lengths)


def _length(value: Any) -> int:
    return len(value) if isinstance(value, (list, dict)) else 1


def _of_csv(body: bytes) -> str | None:
    if body.count(b",") <= _MANY_COLUMNS:
        return None
    text = io.StringIO(body.decode(errors="replace").lstrip("\ufeff"), newline="")
    try:
        header = next((row for row in csv.reader(text) if len(row) > 1 or "".join(row).strip()), [])
    except csv.Error as failure:
        return f"cannot read the request: its first line is not CSV ({failure})"
    if len(header) > _MOST_COLUMNS:
        return _WIDE
    return _COLUMNS if len(header) > _MANY_COLUMNS and len(set(header)) < len(header) else None


def _of_parquet(body: bytes) -> str | None:
    try:
        parquet: Any = importlib.import_module("pyarrow.parquet")
        file = parquet.ParquetFile(io.BytesIO(body))
        if file.metadata.num_rows * file.metadata.num_columns > _MOST_CELLS:
            return _LARGE
        decoded = 0
        for batch in file.iter_batches(batch_size=1024):
            decoded += batch.nbytes
            if decoded > _MOST_DECODED:
                return _LARGE
    except Exception:  # noqa: BLE001 - whatever is wrong with the file, MLflow has its own words for it
        return None
    return None
