"""Refuses bodies of /invocations that pandas would turn into something far larger, or far slower, than their text.

Measured with pandas 3: 50 kB of records without a common key became 187 MB, 240 kB of equal column names took 50 s;
both grow with the square of the text. What is refused here no model was ever trained on.
"""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from modelserver.model.json_tables import Size, TableInputs, named_columns, size_of, tables_of
from modelserver.model.parquet_limits import MAX_COLUMNS, TOO_WIDE, why_parquet_too_large

_MAX_CONTAINERS = 1_000_000  # lists and objects; each takes about 200 bytes, however short its text
_PIECE = 1 << 20
_FEW_CELLS = 1_000_000
_MAX_CELLS_PER_VALUE = 4  # cells of the table for each value that was sent
_MANY_COLUMNS = 1000

_TOO_DEEP = "cannot read the request: its JSON is nested too deeply"
_TOO_MANY_CONTAINERS = (
    f"cannot read the request: its JSON has more than {_MAX_CONTAINERS} lists and objects; "
    "send it as CSV, as Parquet, or in parts"
)
_TOO_SPARSE = "cannot read the request: most of its table would be empty; give the same columns to each row"
_EQUAL_COLUMNS = f"cannot read the request: more than {_MANY_COLUMNS} columns, and some have the same name"


def why_too_large(body: bytes, mime_type: str) -> str | None:
    """Why this body is refused before MLflow sees it, as a sentence; None when it is MLflow's to judge.

    Of JSON, `read_json` tells that.
    """
    if mime_type == "application/vnd.apache.parquet":
        return why_parquet_too_large(body)
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
    if any(named_columns(table) > MAX_COLUMNS for table in tables):
        return TOO_WIDE
    return _TOO_SPARSE if any(_is_too_sparse(size_of(table)) for table in tables) else None


def _is_too_sparse(size: Size) -> bool:
    return size.rows * size.columns > max(_FEW_CELLS, _MAX_CELLS_PER_VALUE * size.values)


# CSV


def _why_csv_too_large(body: bytes) -> str | None:
    if body.count(b",") <= _MANY_COLUMNS:
        return None
    try:
        header = _csv_header(body)
    except csv.Error as failure:
        return f"cannot read the request: its first line is not CSV ({failure})"
    if len(header) > MAX_COLUMNS:
        return TOO_WIDE
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
