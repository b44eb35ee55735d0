"""Refuses Parquet files that pandas would turn into something far larger than the file.

A few hundred bytes can be a hundred million values, and what the file says of its own size is the client's word. So a
file is judged by what pandas would make of each value, before anything of it is decoded that could be large.
"""

from __future__ import annotations

import importlib
import io
from typing import Any

from modelserver.model.parquet_pages import NO_PAGES, Group, Pages, groups_of, pages_of

MAX_COLUMNS = 50_000
"""pandas and MLflow take about 0.2 ms for each, however few the rows."""
TOO_WIDE = f"cannot read the request: its table has more than {MAX_COLUMNS} columns"
_FEW_CELLS = 1_000_000
_MAX_DECODED_BYTES = 512 << 20
"""Of the table, and of the file's pages while they are decoded."""
_MAX_CELLS = 20_000_000
_MAX_PAGES = 500_000
"""Each takes some ten microseconds to find, and several chunks may name the same ones."""
_ROWS_AT_ONCE = 1 << 20
# Encodings: of a value that repeats the one before it, however long, in few bytes; of numbers of texts.
_REPEATING_PREFIXES = 7
_DICTIONARIES = frozenset({2, 8})
# Bytes that pandas takes for each value, measured with pandas 3 and pyarrow 25, on the safe side.
_NUMBER = 8
_TEXT = 100  # a Python object, beside its letters
_OBJECT = 200  # a decimal, a date, a time
_LIST = 160  # an array of NumPy's
_STRUCT = 250  # a dict, or a pair of a map, and the object that a number becomes in it
_UNKNOWN = 1 << 62

_TOO_LARGE = "cannot read the request: its Parquet table is too large in memory; send it in parts"
_NOT_ITS_ROWS = "cannot read the request: its Parquet file does not have the rows that its footer names"
_REPEATS_PREFIXES = "cannot read the request: its Parquet file has the encoding DELTA_BYTE_ARRAY; write it without"
_NO_TEXTS = "cannot read the request: the texts of its Parquet file cannot be decoded"


def why_parquet_too_large(body: bytes) -> str | None:
    """Why this file is refused before MLflow sees it, as a sentence; None when it is MLflow's to judge."""
    try:
        parquet: Any = importlib.import_module("pyarrow.parquet")
        file = parquet.ParquetFile(io.BytesIO(body))
        metadata = file.metadata
    except Exception:  # noqa: BLE001 - whatever is wrong with the file, MLflow has its own words for it
        return None
    if metadata.num_columns > MAX_COLUMNS:
        return TOO_WIDE
    groups = groups_of(body)
    if groups is None or any(len(group.chunks) != metadata.num_columns for group in groups):
        return _NOT_ITS_ROWS
    values = [sum(group.chunks[at].values for group in groups) for at in range(metadata.num_columns)]
    size = _size_by_claims(file, values)
    if size > _MAX_DECODED_BYTES:
        return _TOO_LARGE
    pages = _pages_of_columns(body, groups, metadata.num_columns)
    if pages is None:
        return _NOT_ITS_ROWS
    if sum(one.unpacked for one in pages) > _MAX_DECODED_BYTES:
        return _TOO_LARGE
    if any(_REPEATING_PREFIXES in one.encodings for one in pages):
        return _REPEATS_PREFIXES
    if _is_few_numbers(file, values):
        return None
    # Only now: it takes as much memory as the pages.
    return _why_texts_too_large(body, metadata, pages, size) if _has_its_rows(file, groups) else _NOT_ITS_ROWS


def _size_by_claims(file: Any, values: list[int]) -> int:
    """Bytes without the letters of texts, by the footer: pandas decodes as many values as it says, and no more."""
    metadata, schema = file.metadata, file.schema_arrow
    rows = max(0, int(metadata.num_rows))
    if rows * metadata.num_columns > _MAX_CELLS:
        return _UNKNOWN
    try:
        costs = [cost for field in schema for cost in _costs(field.type)]
    except RecursionError:
        return _UNKNOWN
    if len(costs) != len(values):
        return _UNKNOWN
    size = 0
    for at, cost in enumerate(costs):
        column = metadata.schema.column(at)
        width = column.length if column.physical_type == "FIXED_LEN_BYTE_ARRAY" else 0
        size += values[at] * (cost + width)
    # A recording is one long list: of such lists there are as many as rows.
    return size + _LIST * rows * sum(_is_list_of_numbers(field.type) for field in schema)


# What pandas makes of a value


def _costs(kind: Any, is_inside: bool = False) -> list[int]:
    """Bytes for each value of each leaf of an Arrow type; the file has a column for each leaf."""
    types = _types()
    if hasattr(kind, "storage_type"):  # an extension
        return _costs(kind.storage_type, is_inside)
    if types.is_struct(kind):
        return [_STRUCT + cost for field in kind for cost in _costs(field.type, is_inside=True)]
    if types.is_map(kind):
        return [_STRUCT + cost for part in (kind.key_type, kind.item_type) for cost in _costs(part, is_inside=True)]
    if _is_list(kind):
        # Of a recording there is one in each row, which is counted elsewhere.
        own = 0 if _is_list_of_numbers(kind) and not is_inside else _LIST
        return [own + cost for cost in _costs(kind.value_type, is_inside=True)]
    if _is_number(kind) or (_is_moment(kind) and not is_inside):
        return [_NUMBER]
    is_bytes = types.is_binary(kind) or types.is_large_binary(kind)
    is_object = is_bytes or types.is_decimal(kind) or types.is_date(kind) or types.is_time(kind) or _is_moment(kind)
    return [_OBJECT if is_object else _TEXT]


def _leaves(kind: Any) -> list[Any]:
    types = _types()
    if types.is_struct(kind):
        return [leaf for field in kind for leaf in _leaves(field.type)]
    if types.is_map(kind):
        return [*_leaves(kind.key_type), *_leaves(kind.item_type)]
    return _leaves(kind.value_type) if _is_list(kind) else [kind]


def _types() -> Any:
    return importlib.import_module("pyarrow.types")


def _is_list(kind: Any) -> bool:
    types = _types()
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _is_number(kind: Any) -> bool:
    types = _types()
    return bool(types.is_boolean(kind) or types.is_integer(kind) or types.is_floating(kind))


def _is_moment(kind: Any) -> bool:
    """A number in a column, but an object within a list."""
    return bool(_types().is_timestamp(kind) or _types().is_duration(kind))


def _is_list_of_numbers(kind: Any) -> bool:
    return _is_list(kind) and _is_number(kind.value_type)


def _is_few_numbers(file: Any, values: list[int]) -> bool:
    """Whatever Arrow stores as a number may be a decimal, a date or a time: the types decide."""
    kinds = [field.type for field in file.schema_arrow]
    return sum(values) <= _FEW_CELLS and all(_is_number(kind) or _is_moment(kind) for kind in kinds)


# What is in the file


def _pages_of_columns(body: bytes, groups: list[Group], columns: int) -> list[Pages] | None:
    """What the pages of each column say of themselves; None when they cannot be read."""
    found, left = [NO_PAGES] * columns, _MAX_PAGES
    for group in groups:
        for column, chunk in enumerate(group.chunks):
            pages = pages_of(body, chunk, left)
            if pages is None:
                return None
            left -= pages.count
            found[column] += pages
    return found


def _has_its_rows(file: Any, groups: list[Group]) -> bool:
    """Whether its pages hold the rows that its footer claims."""
    try:
        found = file.scan_contents()
    except Exception:  # noqa: BLE001 - its columns differ in length, or a page is broken; Arrow raises anything
        return False
    return bool(found == file.metadata.num_rows == sum(group.rows for group in groups))


def _why_texts_too_large(body: bytes, metadata: Any, pages: list[Pages], size: int) -> str | None:
    """A text that is a hundred times in a column may be once in the file: it is once in memory here, too."""
    schema = metadata.schema
    texts = [at for at in range(metadata.num_columns) if schema.column(at).physical_type == "BYTE_ARRAY"]
    if not texts:
        return None
    # The pages of the others hold each text in full, and Arrow cannot read all of them this way.
    repeated = [at for at in texts if pages[at].encodings & _DICTIONARIES]
    parquet: Any = importlib.import_module("pyarrow.parquet")
    paths = [schema.column(at).path for at in texts]
    try:
        file = parquet.ParquetFile(io.BytesIO(body), read_dictionary=repeated)
        leaves = [leaf for field in file.schema_arrow for leaf in _leaves(field.type)]
        if not all(_types().is_dictionary(leaves[at]) for at in repeated):
            return _NO_TEXTS  # such as of a type that Arrow decodes in full, whatever it is asked for
        for group in range(metadata.num_row_groups):  # one by one: Arrow cannot join their dictionaries within lists
            for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, row_groups=[group], columns=paths):
                size += sum(_letters(column) for column in batch.columns)
                if size > _MAX_DECODED_BYTES:
                    return _TOO_LARGE
    except Exception:  # noqa: BLE001 - Arrow raises anything, and what is not counted here is not decoded elsewhere
        return _NO_TEXTS
    return None


def _letters(array: Any) -> int:
    """How many bytes its texts have, each as often as it is there."""
    compute: Any = importlib.import_module("pyarrow.compute")
    kind, types = array.type, _types()
    if hasattr(kind, "storage_type"):
        return _letters(array.storage)
    if types.is_struct(kind):
        return sum(_letters(part) for part in array.flatten())
    if types.is_map(kind):
        return _letters(array.keys) + _letters(array.items)
    if _is_list(kind):
        return _letters(array.flatten())
    if types.is_dictionary(kind):
        lengths = compute.take(compute.binary_length(array.dictionary), array.indices)
        return int(compute.sum(lengths).as_py() or 0)
    if str(kind).endswith("_view"):  # pyarrow before 16 has no other word for them
        array = array.cast("large_binary")
    return int(compute.sum(compute.binary_length(array)).as_py() or 0)
