"""Reads a Parquet file's footer and the headers of its pages: what the footer says of the pages is only a claim.

Arrow takes as much memory for a page as its header says, before it looks at it. And pyarrow ends the process when it is
asked for some broken chunks of a footer, so nothing here asks it. What Arrow could read in another way is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12
_BITS = {_I16: 16, _I32: 32, _I64: 64}
_DATA_PAGES = {0: (5, 2), 3: (8, 4)}
"""The types of pages that hold values: the field of their own header, and the field in it that says the encoding."""
_DEEPEST = 10
_MOST_PARTS = 4_000_000
"""Of a footer: each takes about a microsecond. 50,000 columns have about half as many."""
_UNREADABLE = (ValueError, LookupError)


@dataclass(frozen=True)
class Pages:
    """What the pages of a column say of themselves."""

    count: int
    unpacked: int
    """Bytes of all of them."""
    values: int
    encodings: frozenset[int]
    """Of those that hold values, by their numbers in Parquet."""

    def __add__(self, other: Pages) -> Pages:
        """Those of both."""
        return Pages(
            self.count + other.count,
            self.unpacked + other.unpacked,
            self.values + other.values,
            self.encodings | other.encodings,
        )


NO_PAGES = Pages(0, 0, 0, frozenset())


@dataclass(frozen=True)
class Chunk:
    """The part of a column in a group of rows, as the footer has it."""

    values: int
    start: int
    end: int


@dataclass(frozen=True)
class Group:
    """A group of rows, as the footer has it."""

    rows: int
    chunks: tuple[Chunk, ...]


def groups_of(body: bytes) -> list[Group] | None:
    """The groups of a file that Arrow can open; None when its footer cannot be read."""
    reader = _Thrift(body, len(body) - 8 - int.from_bytes(body[-8:-4], "little"))
    try:
        groups = reader.struct()[4, _LIST]
        return [Group(one[3, _I64], tuple(map(_chunk, one[1, _LIST]))) for one in groups]
    except (*_UNREADABLE, TypeError):  # a list of something else
        return None


def _chunk(column: Any) -> Chunk:
    told = column[3, _STRUCT]
    start = told[9, _I64]
    dictionary = told.get((11, _I64), 0)
    # As Arrow has it.
    if 0 < dictionary < start:
        start = dictionary
    if told[5, _I64] < 0:
        raise ValueError("less than no values")
    return Chunk(told[5, _I64], start, start + told[7, _I64])


def pages_of(body: bytes, chunk: Chunk, most: int) -> Pages | None:
    """Walk the pages that Arrow reads; None when they cannot be read, or have not the values that the footer says.

    `most`: how many it may have.
    """
    reader = _Thrift(body, chunk.start)
    pages = NO_PAGES
    try:
        while pages.values < chunk.values and reader.at < chunk.end:
            pages += _next_page(reader)
            if pages.count > most:
                return None
    except _UNREADABLE:
        return None
    return pages if pages.values >= chunk.values else None


def _next_page(reader: _Thrift) -> Pages:
    header = reader.struct()
    kind, unpacked, packed = header[1, _I32], header[2, _I32], header[3, _I32]
    if unpacked < 0 or packed < 0:
        raise ValueError("less than no bytes")
    reader.at += packed
    if kind not in _DATA_PAGES:
        return Pages(1, unpacked, 0, frozenset())
    own, encoding = _DATA_PAGES[kind]
    told = header[own, _STRUCT]
    if told[1, _I32] < 0:
        raise ValueError("less than no values")
    return Pages(1, unpacked, told[1, _I32], frozenset({told[encoding, _I32]}))


class _Thrift:
    """Reads structs of Thrift's compact protocol from `at` on. Raises ValueError, and IndexError at the end."""

    def __init__(self, body: bytes, at: int) -> None:
        self._body = body
        self._parts = 0
        self.at = at

    def struct(self, depth: int = 0) -> dict[tuple[int, int], Any]:
        """Its fields, by number and type: Arrow does not take one of another type for it."""
        fields: dict[tuple[int, int], Any] = {}
        numbers: set[int] = set()
        number = 0
        while head := self._byte():
            kind = head & 15
            number = number + (head >> 4) if head >> 4 else self._integer(_I16)
            if number in numbers:
                raise ValueError("a field is there twice")
            numbers.add(number)
            fields[number, kind] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        self._parts += 1
        if depth > _DEEPEST or self._parts > _MOST_PARTS:
            raise ValueError("too much")
        if kind in _BITS:
            return self._integer(kind)
        if kind == _STRUCT:
            return self.struct(depth + 1)
        if kind in (_LIST, _SET):
            return self._items(depth + 1)
        if kind in (_TRUE, _FALSE, _BYTE):  # in a list, where one of the first two has a byte of its own
            return self._byte()
        if kind not in (_DOUBLE, _BINARY):
            raise ValueError("a type that Parquet does not use")
        # Nobody asks for these.
        length = self._varint() if kind == _BINARY else 8
        self.at += length
        return None

    def _items(self, depth: int) -> list[Any]:
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._varint()  # 15: it follows
        return [self._value(head & 15, depth) for _ in range(count)]

    def _byte(self) -> int:
        if self.at < 0:
            raise ValueError("nothing is before the file")
        self.at += 1
        return self._body[self.at - 1]

    def _varint(self) -> int:
        number = shift = 0
        while shift < 64:
            septet = self._byte()
            number |= (septet & 0x7F) << shift
            shift += 7
            if septet < 0x80:
                return number
        raise ValueError("too long a number")

    def _integer(self, kind: int) -> int:
        """With a sign: 0, -1, 1, -2 are 0, 1, 2, 3."""
        number = self._varint()
        if number >> _BITS[kind]:
            raise ValueError("too large a number")
        return (number >> 1) ^ -(number & 1)
