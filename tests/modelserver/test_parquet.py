"""A Parquet file is refused for what pandas would make of it, at no more memory than it may take."""

from __future__ import annotations

import datetime
import io
import random
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modelserver.model import parquet_limits
from modelserver.model.table_limits import why_too_large

PARQUET = "application/vnd.apache.parquet"
MANY = 3_000_000


def _parquet(table: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.to_parquet(buffer)
    return buffer.getvalue()


def test_only_parquet_that_may_grow_is_decoded_to_be_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A text may stand for many bytes in each row; a few numbers stay few."""
    monkeypatch.setattr(parquet_limits, "_has_its_rows", lambda *_: False)
    numbers = pd.DataFrame({"a": [1, 2], "b": [0.5, None], "c": [True, False], "d": pd.to_datetime([0, 1])})
    assert why_too_large(_parquet(numbers), PARQUET) is None
    for growing in (numbers.assign(e=["x", "y"]), numbers.assign(e=[[1], [2]])):
        assert why_too_large(_parquet(growing), PARQUET) == parquet_limits._NOT_ITS_ROWS
    monkeypatch.setattr(parquet_limits, "_FEW_CELLS", 7)
    assert why_too_large(_parquet(numbers), PARQUET) == parquet_limits._NOT_ITS_ROWS


def _footers_that_claim(rows: int, body: bytes, claimed: int) -> Iterator[bytes]:
    """The file with another number of rows at each place of its footer that has it, and at all of them."""
    size = int.from_bytes(body[-8:-4], "little")
    footer, end = body[-8 - size : -8], body[-8:]
    told = _varint(2 * rows)
    lie = bytes([2 * claimed | 0x80, *[0x80] * (len(told) - 2), 0])  # as many bytes, so that nothing else moves
    places = [found.start() for found in re.finditer(re.escape(told), footer)]
    assert len(places) >= 4  # of the file, of its group, of two columns
    for place in places:
        yield body[: -8 - size] + footer[:place] + lie + footer[place + len(lie) :] + end
    yield body[: -8 - size] + footer.replace(told, lie) + end


def _varint(number: int) -> bytes:
    """A number as Thrift writes it: seven bits in each byte, the lowest first."""
    septets = [number >> shift & 0x7F for shift in range(0, number.bit_length(), 7)]
    return bytes([*(septet | 0x80 for septet in septets[:-1]), septets[-1]])


MANY_ROWS = 1_000_000
LYING: dict[str, pd.DataFrame] = {
    "numbers": pd.DataFrame({"a": [0.0] * MANY_ROWS, "b": [1.5] * MANY_ROWS}),
    "texts": pd.DataFrame({"a": ["a long text"] * MANY_ROWS, "b": [1.5] * MANY_ROWS}),
    "lists of texts": pd.DataFrame({"a": [["a", "long text"]] * MANY_ROWS, "b": [1.5] * MANY_ROWS}),
}


@pytest.mark.parametrize("kind", LYING)
def test_a_parquet_file_is_not_believed_how_many_rows_it_has(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its footer says that in several places, and each can be false."""
    monkeypatch.setattr(parquet_limits, "_MAX_DECODED_BYTES", 5 << 20)
    honest = _parquet(LYING[kind])
    assert why_too_large(honest, PARQUET) == parquet_limits._TOO_LARGE
    large = 0
    for body in _footers_that_claim(MANY_ROWS, honest, 10):
        is_large = _rows_that_arrow_decodes(body) > 10
        large += is_large
        assert why_too_large(body, PARQUET) is not None or not is_large
    assert large >= 3


def _rows_that_arrow_decodes(body: bytes) -> int:
    """Of its longest column, as pandas has it read."""
    file = pq.ParquetFile(io.BytesIO(body))
    rows: list[int] = [file.read(columns=[name]).num_rows for name in ("a", "b")]
    return max(rows)


def _written(column: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"a.b": column, "a": pa.array(range(len(column)))}), buffer, **options)
    return buffer.getvalue()


def _times(count: int, value: Any, kind: Any = None) -> Any:
    """An array of the same value again and again."""
    return pa.array([value], kind).take(pa.array(np.zeros(count, "i8")))


def _in_one_cell(values: Any) -> Any:
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)


OBJECTS: dict[str, Callable[[], Any]] = {
    "objects in one cell": lambda: _in_one_cell(_times(MANY, {"a": True}, pa.struct({"a": pa.bool_()}))),
    "objects": lambda: _times(MANY, {"a": True}, pa.struct({"a": pa.bool_()})),
    "lists in one cell": lambda: _in_one_cell(_times(4_000_000, [1.5])),
    "decimals": lambda: _times(MANY, Decimal("1.5"), pa.decimal128(9, 1)),
    "dates": lambda: _times(MANY, datetime.date(2020, 1, 1)),
    "times": lambda: _times(MANY, datetime.time(1)),
    "timestamps in one cell": lambda: _in_one_cell(_times(MANY, datetime.datetime(2020, 1, 1))),  # noqa: DTZ001 - none
    "texts": lambda: _times(6_000_000, "x"),
}


@pytest.mark.parametrize("kind", OBJECTS)
def test_an_object_of_pythons_is_counted_as_what_it_takes(kind: str) -> None:
    """However few bits Arrow needs for it."""
    body = _written(OBJECTS[kind](), compression="zstd", store_decimal_as_integer=True)
    assert why_too_large(body, PARQUET) == parquet_limits._TOO_LARGE


def test_a_long_recording_is_not_counted_as_objects() -> None:
    """NumPy has an array for it."""
    assert why_too_large(_written(_in_one_cell(pa.array(np.zeros(5_000_000)))), PARQUET) is None


@pytest.mark.parametrize("value", [Decimal("1.5"), datetime.date(2020, 1, 1), datetime.time(1)])
def test_what_is_stored_as_a_number_may_be_an_object(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """So a few of them are no few numbers."""
    monkeypatch.setattr(parquet_limits, "_MAX_DECODED_BYTES", 1000)
    body = _written(_times(9, value), store_decimal_as_integer=True)
    assert why_too_large(body, PARQUET) == parquet_limits._TOO_LARGE
    assert why_too_large(_written(_times(9, 1)), PARQUET) is None


LONG = "x" * 4_000_000
LARGE: dict[str, Callable[[], bytes]] = {
    "a long list": lambda: _written(_in_one_cell(pa.array(np.zeros(4_000_000)))),
    "a text that is repeated": lambda: _written(_times(400, "x" * 1_000_000).dictionary_encode(), store_schema=False),
    "a text of letters that pack well": lambda: _written(pa.array([LONG]), compression="zstd", use_dictionary=False),
    "the same as a dictionary": lambda: _written(pa.array([LONG] * 2), compression="zstd"),
    "texts that repeat the one before": lambda: _written(
        pa.array(["x" * 300_000] * 400), use_dictionary=False, column_encoding={"a.b": "DELTA_BYTE_ARRAY"}
    ),
}


@pytest.mark.parametrize("kind", LARGE)
def test_to_judge_a_file_takes_no_more_than_the_limit(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The judgement itself must not be what such a file is made for."""
    body = LARGE[kind]()
    monkeypatch.setattr(parquet_limits, "_MAX_DECODED_BYTES", 2 << 20)
    usual = pa.default_memory_pool()
    counted = pa.proxy_memory_pool(usual)
    pa.set_memory_pool(counted)
    try:
        assert why_too_large(body, PARQUET) in (parquet_limits._TOO_LARGE, parquet_limits._REPEATS_PREFIXES)
    finally:
        pa.set_memory_pool(usual)
    assert counted.max_memory() < 6 << 20


def test_a_wide_file_is_refused_like_any_other_wide_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything looks at its columns."""
    monkeypatch.setattr(parquet_limits, "MAX_COLUMNS", 2)
    assert why_too_large(_parquet(pd.DataFrame({"a": [1], "b": [1]})), PARQUET) is None
    assert why_too_large(_parquet(pd.DataFrame({"a": [1], "b": [1], "c": [1]})), PARQUET) == parquet_limits.TOO_WIDE


KINDS: dict[str, Any] = {
    "texts": pa.array(["a", None, "b" * 40]),
    "large texts": pa.array(["a", None, "b"], pa.large_string()),
    "views of texts": pa.array(["a", None, "b" * 40], pa.string_view()),
    "bytes": pa.array([b"a", None, b"b"]),
    "bytes of one length": pa.array([b"ab", None, b"cd"], pa.binary(2)),
    "categories": pa.array(["a", "b", "a"]).dictionary_encode(),
    "lists of texts": pa.array([["a", "b"], None, []]),
    "lists of one length": pa.array([["a", "b"]] * 3, pa.list_(pa.string(), 2)),
    "lists of lists": pa.array([[["a"]], [["b", "c"], []], [["d"]]]),
    "objects": pa.array([{"a": "b", "c": 1}, None, {"a": "d", "c": 2}]),
    "lists of objects": pa.array([[{"a": "b"}], None, [{"a": "c"}]]),
    "maps": pa.array([[("a", ["b"])], None, [("c", ["d"])]], pa.map_(pa.string(), pa.list_(pa.string()))),
    "decimals": pa.array([Decimal("1.5"), None, Decimal("2.5")]),
    "nothing": pa.nulls(3),
    "no rows": pa.array([], pa.string()),
}
WAYS: dict[str, dict[str, Any]] = {
    "as usual": {},
    "without dictionaries": {"use_dictionary": False},
    "in groups": {"row_group_size": 1},
    "without Arrow's schema": {"store_schema": False},
    "in new pages": {"data_page_version": "2.0", "compression": "zstd", "write_page_checksum": True},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_small_files_of_any_kind_are_left_alone(kind: str, way: str) -> None:
    """What pandas reads is pandas' to read."""
    assert why_too_large(_written(KINDS[kind], **WAYS[way]), PARQUET) is None


def test_lengths_without_texts_are_read_too() -> None:
    """An encoding of some writers, which Arrow cannot read by numbers of texts."""
    body = _written(KINDS["texts"], use_dictionary=False, column_encoding={"a.b": "DELTA_LENGTH_BYTE_ARRAY"})
    assert why_too_large(body, PARQUET) is None


def test_a_file_of_very_many_pages_is_not_walked_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many chunks may name the same pages, and each page takes time."""
    body = _written(pa.array(range(9)), row_group_size=1)
    assert why_too_large(body, PARQUET) is None
    monkeypatch.setattr(parquet_limits, "_MAX_PAGES", 9)
    assert why_too_large(body, PARQUET) == parquet_limits._NOT_ITS_ROWS


def test_a_broken_file_is_judged_without_an_error() -> None:
    """Wherever it is broken: pyarrow itself ends the process when it is asked for some chunks."""
    chance = random.Random(1)  # noqa: S311 - made-up input, no secret
    body = _written(KINDS["lists of objects"], row_group_size=1)
    for _ in range(1000):
        broken = bytearray(body)
        broken[chance.randrange(len(body))] = chance.randrange(256)
        refused = why_too_large(bytes(broken), PARQUET)
        assert refused is None or refused.startswith("cannot read the request: ")
