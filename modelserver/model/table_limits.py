"""Refuses bodies of /invocations that pandas would turn into something far larger, or far slower, than their text.

Measured with pandas 3: 50 kB of records without a common key became 187 MB, 240 kB of equal column names took 50 s;
both grow with the square of the text. What is refused here no model was ever trained on.
"""

from __future__ import annotations

import csv
import importlib
import io
import json
from typing import Any

from modelserver.model.json_tables import Size, TableInputs, named_columns, size_of, tables_of

_MAX_CONTAINERS = 1_000_000  # lists and objects; each takes about 200 bytes, however short its text
_PIECE = 1 << 20
_FEW_CELLS = 1_000_000
_MAX_CELLS_PER_VALUE = 4  # cells of the table for each value that was sent
_MANY_COLUMNS = 1000
_MAX_COLUMNS = 50_000  # pandas and MLflow take about 0.2 ms for each, however few the rows
_MAX_DECODED_BYTES = 512 << 20  # of a Parquet table in memory; a file of a few hundred bytes may be gigabytes
_MAX_PARQUET_CELLS = 20_000_000
_MAX_PARQUET_VALUES = 500_000_000  # also those within lists, of which one cell may have many
_PARQUET_ROWS_AT_ONCE = 1024
# Types of which no value takes more than 12 bytes, however it is compressed.
_PARQUET_NUMBERS = frozenset({"BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE"})

_TOO_DEEP = "cannot read the request: its JSON is nested too deeply"
_TOO_MANY_CONTAINERS = (
    f"cannot read the request: its JSON has more than {_MAX_CONTAINERS} lists and objects; "
    "send it as CSV, as Parquet, or in parts"
)
_TOO_SPARSE = "cannot read the request: most of its table would be empty; give the same columns to each row"
_TOO_WIDE = f"cannot read the request: its table has more than {_MAX_COLUMNS} columns"
_TOO_LARGE = "cannot read the request: its Parquet table is too large in memory; send it in parts"
_NOT_ITS_ROWS = "cannot read the request: its Parquet file does not have the rows that its footer names"
_EQUAL_COLUMNS = f"cannot read the request: more than {_MANY_COLUMNS} columns, and some have the same name"


def why_too_large(body: bytes, mime_type: str) -> str | None:
    """Why this body is refused before MLflow sees it, as a sentence; None when it is MLflow's to judge.

    Of JSON, `read_json` tells that.
    """
    if mime_type == "application/vnd.apache.parquet":
        return _why_parquet_too_large(body)
    return _why_csv_too_large(body) if mime_type == "text/csv" else None


# JSON


def read_json(body: bytes, inputs: TableInputs, document: Any = None) -> tuple[str | None, dict[str, Any] | None]:
    """Why a body of JSON is refused before MLflow sees it, as a sentence, and the object that it holds.

    None for the first when it is MLflow's to judge; for the second when it is no object. `document`: what it says, if
    it was parsed already.
    """
    # Before it is parsed, which is what would take the memory.
    if _has_too_many_containers(body):
        return _TOO_MANY_CONTAINERS, None
    try:
        parsed = json.loads(body) if document is None else document
    except RecursionError:
        return _TOO_DEEP, None
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None, None  # MLflow has its own words for it
    except ValueError as failure:
        return f"cannot read the request: its JSON has a number that is too long ({failure})", None
    if not isinstance(parsed, dict):
        return None, None
    return _why_tables_too_large(tables_of(parsed, inputs)), parsed


def _has_too_many_containers(body: bytes) -> bool:
    # The quick count first: it is right for all but bodies of long texts with brackets.
    return _brackets(body) > _MAX_CONTAINERS and _brackets_outside_strings(body) > _MAX_CONTAINERS


def _brackets(text: bytes) -> int:
    return text.count(b"[") + text.count(b"{")


def _brackets_outside_strings(body: bytes) -> int:
    """How many lists and objects it has; all brackets where it is no UTF-8, whose quotation marks may be others."""
    if b"\0" in body:
        return _brackets(body)
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    count, is_in_string = 0, False
    # In pieces: parted as a whole, a body of quotation marks would take a hundred times its size.
    for start in range(0, len(unescaped), _PIECE):
        parts = unescaped[start : start + _PIECE].split(b'"')
        count += _brackets(b"".join(parts[is_in_string::2]))
        is_in_string ^= len(parts) % 2 == 0
    return count


def _why_tables_too_large(tables: list[Any]) -> str | None:
    if any(named_columns(table) > _MAX_COLUMNS for table in tables):
        return _TOO_WIDE
    return _TOO_SPARSE if any(_is_too_sparse(size_of(table)) for table in tables) else None


def _is_too_sparse(size: Size) -> bool:
    return size.rows * size.columns > max(_FEW_CELLS, _MAX_CELLS_PER_VALUE * size.values)


# CSV and Parquet


def _why_csv_too_large(body: bytes) -> str | None:
    if body.count(b",") <= _MANY_COLUMNS:
        return None
    try:
        header = _csv_header(body)
    except csv.Error as failure:
        return f"cannot read the request: its first line is not CSV ({failure})"
    if len(header) > _MAX_COLUMNS:
        return _TOO_WIDE
    # pandas renames equal columns one by one, and looks for a free name from the beginning each time.
    has_equal_names = len(set(header)) < len(header)
    return _EQUAL_COLUMNS if len(header) > _MANY_COLUMNS and has_equal_names else None


def _csv_header(body: bytes) -> list[str]:
    """The first line that pandas does not take for an empty one. Raises csv.Error."""
    first = body.lstrip(b"\r\n \t").partition(b"\n")[0]
    if b'"' not in first and first.count(b",") <= _MANY_COLUMNS:
        return []  # not so many that it would matter
    text = io.StringIO(body.decode(errors="replace").lstrip("\ufeff"), newline="")
    return next((row for row in csv.reader(text) if len(row) > 1 or "".join(row).strip()), [])


def _why_parquet_too_large(body: bytes) -> str | None:
    try:
        parquet: Any = importlib.import_module("pyarrow.parquet")
        file = parquet.ParquetFile(io.BytesIO(body))
    except Exception:  # noqa: BLE001 - whatever is wrong with the file, MLflow has its own words for it
        return None
    metadata = file.metadata
    values = _values_of_chunks(metadata)
    if metadata.num_rows * metadata.num_columns > _MAX_PARQUET_CELLS or sum(values) > _MAX_PARQUET_VALUES:
        return _TOO_LARGE
    if sum(values) <= _FEW_CELLS and _has_only_numbers(metadata.schema):
        return None
    if min(values, default=0) < 0 or not _has_its_rows(file):
        return _NOT_ITS_ROWS
    try:
        # What the file says of its size is the client's word: a few rows at a time are decoded to see.
        decoded = 0
        for batch in file.iter_batches(batch_size=_PARQUET_ROWS_AT_ONCE):
            decoded += batch.nbytes
            if decoded > _MAX_DECODED_BYTES:
                return _TOO_LARGE
    except Exception:  # noqa: BLE001 - likewise
        return None
    return None


def _values_of_chunks(metadata: Any) -> list[int]:
    """How many values each chunk of a column says that it has: pandas decodes as many, and no more."""
    groups, columns = range(metadata.num_row_groups), range(metadata.num_columns)
    return [metadata.row_group(group).column(column).num_values for group in groups for column in columns]


def _has_only_numbers(schema: Any) -> bool:
    columns = (schema.column(at) for at in range(len(schema)))
    return all(column.physical_type in _PARQUET_NUMBERS and not column.max_repetition_level for column in columns)


def _has_its_rows(file: Any) -> bool:
    """Whether its pages hold the rows that its footer claims, which is as far as `iter_batches` reads."""
    metadata = file.metadata
    claimed = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    try:
        found = file.scan_contents()
    except Exception:  # noqa: BLE001 - its columns differ in length, or a page is broken; Arrow raises anything
        return False
    return bool(found == metadata.num_rows == sum(claimed))
