"""Requests that a client might send by mistake or on purpose: made from a seed, of every format, mostly wrong."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import pandas as pd

JSON = "application/json"
CSV = "text/csv"
PARQUET = "application/vnd.apache.parquet"
FORM = "multipart/form-data; boundary=b"
NAMES = ("age", "spo2", "c", "a", "b", "name", "string", "double", "datetime", "binary", "when", "boolean", "integer")
FORMATS = ("dataframe_split", "dataframe_records", "instances", "inputs", "messages", "prompt", "input", "data")
_PLAIN: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    1.5,
    1e308,
    10**30,
    float("nan"),
    float("inf"),
    "",
    "x",
    "YWJ",
    "YQ==",
    "2020-01-01",
    "2020-13-45T99:00",
    "0x1F",
    "\ud800",
    "é" * 300,
)
_MEDIA_TYPES = (
    None,
    "",
    JSON,
    CSV,
    PARQUET,
    FORM,
    "application/json; charset=utf-8",
    "application/json; charset=latin-1",
    "application/json; charset=",
    "application/json;;;",
    "application/json; charset",
    "APPLICATION/JSON",
    "text/csv; header=absent",
    "text/plain",
    "multipart/form-data",
    'multipart/form-data; boundary="',
    "multipart/form-data; boundary*=utf-8''%ff%E2%82%AC",
    "multipart/form-data; boundary*0=b; boundary*1*=x'y",
    "multipart/form-data; boundary=" + "b" * 100,
    "*/*",
    "\xff\xfe",
    "a" * 5000,
)
_ENCODINGS = ("gzip", "br", "identity", "chunked", "\xff", "identity, identity")
_DISPOSITIONS = (
    'form-data; name="metadata"',
    'form-data; name="frase"; filename="f.wav"',
    'form-data; name="frase"',
    "form-data; filename*=utf-8''%ff; name=x",
    "form-data; name*=klingon'x'y; filename=z",
    'form-data; name*0="meta"; name*1="data"',
    'attachment; name="é"; filename="\xff"',
    "",
    "form-data; name=" + "n" * 9000,
)


@dataclass(frozen=True)
class Sent:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    def __str__(self) -> str:
        return f"{self.path} {self.headers} {self.body[:2000]!r}"


def odd(random: Random, right: Any) -> Sent:
    """The next request, to a model that takes `right`."""
    media_type: str | None = JSON
    if random.random() < 0.3:
        body = json.dumps(_with_oddity(random, right)).encode()
    else:
        media_type, body = random.choice(_BODIES)(random)
    if random.random() < 0.2:
        media_type = random.choice(_MEDIA_TYPES)
    if random.random() < 0.2:
        body = _spoilt(random, body)
    headers = {} if media_type is None else {"content-type": media_type}
    if random.random() < 0.05:
        headers["content-encoding"] = random.choice(_ENCODINGS)
    path = "/predict" if (media_type or "").startswith("multipart") or random.random() < 0.1 else "/invocations"
    return Sent(path, headers, body)


def _value(random: Random, depth: int = 0) -> Any:
    if depth > 3 or random.random() < 0.6:
        return random.choice(_PLAIN)
    many = range(random.choice((0, 1, 2, 2, 3)))
    if random.random() < 0.5:
        return [_value(random, depth + 1) for _ in many]
    return {_name(random): _value(random, depth + 1) for _ in many}


def _name(random: Random) -> str:
    return str(random.choice(NAMES)) if random.random() < 0.7 else random.choice(("", "1", "é", "columns", "n" * 300))


def _odd_name(random: Random) -> Any:
    return _name(random) if random.random() < 0.7 else _value(random)


def _rows(random: Random, columns: int) -> Any:
    if random.random() < 0.1:
        return _value(random)
    widths = [columns if random.random() < 0.9 else random.randrange(4) for _ in range(random.randrange(4))]
    return [[_value(random, 2) for _ in range(width)] for width in widths]


def _split(random: Random) -> Any:
    names = [_odd_name(random) for _ in range(random.choice((0, 1, 1, 2, 2, 3)))]
    if random.random() < 0.2:
        names += names
    table = {"columns": names, "data": _rows(random, len(names)), "index": _value(random)}
    for key in list(table):
        if random.random() < (0.7 if key == "index" else 0.1):
            del table[key]
        elif random.random() < 0.05:
            table[key] = _value(random)
    return table


def _records(random: Random) -> Any:
    record = {_name(random): _value(random, 1) for _ in range(random.randrange(4))}
    return [record if random.random() < 0.8 else _value(random) for _ in range(random.randrange(4))]


def _columns(random: Random) -> Any:
    return {_name(random): _value(random) for _ in range(random.randrange(4))}


def _deep(random: Random) -> Any:
    value: Any = 1
    for _ in range(random.choice((20, 100, 300))):
        value = [value] if random.random() < 0.5 else {"a": value}
    return value


_TABLES = (_split, _split, _records, _records, _columns, _value, _deep)


def _json(random: Random) -> tuple[str, bytes]:
    sent = {random.choice(FORMATS): random.choice(_TABLES)(random)}
    if random.random() < 0.1:
        sent[random.choice(FORMATS)] = _value(random)
    if random.random() < 0.2:
        sent["params"] = random.choice((_value(random), {"factor": _value(random)}, {"labels": _value(random), "x": 1}))
    return JSON, json.dumps(_value(random) if random.random() < 0.05 else sent).encode()


def _with_oddity(random: Random, right: Any) -> Any:
    """`right` with something odd in one place."""
    if isinstance(right, dict) and right and random.random() < 0.85:
        key = random.choice(list(right))
        odd_one = {key: _with_oddity(random, right[key])} if random.random() < 0.9 else {_name(random): right[key]}
        return {**right, **odd_one}
    if isinstance(right, list) and right and random.random() < 0.85:
        where = random.randrange(len(right))
        return [*right[:where], _with_oddity(random, right[where]), *right[where + 1 :]]
    return _value(random)


def _found(random: Random) -> tuple[str, bytes]:
    """What once was a release's fault."""
    body = {"dataframe_split": {"columns": ["c", [1]], "data": [["a", 1.0]]}}
    found = [body, {"inputs": ["x"]}, {"inputs": ["YWJ"]}, {"dataframe_records": [{"x": 1}]}]
    return JSON, json.dumps(random.choice(found)).encode()


def _csv(random: Random) -> tuple[str, bytes]:
    header = [str(_odd_name(random)) for _ in range(random.randrange(4))]
    lines = [header, *([str(_value(random)) for _ in header] for _ in range(random.randrange(4)))]
    return CSV, "\n".join(random.choice(",;,,")[0].join(line) for line in lines).encode(errors="replace")


def _parquet(random: Random) -> tuple[str, bytes]:
    columns = {_name(random): [random.choice(_PLAIN[1:5])] * 2 for _ in range(random.randrange(1, 4))}
    if random.random() < 0.3:
        columns["c"] = [b"\xff", b""] if random.random() < 0.5 else [[1, 2], [3]]
    buffer = io.BytesIO()
    pd.DataFrame(columns).to_parquet(buffer)
    return PARQUET, buffer.getvalue()


def _multipart(random: Random) -> tuple[str, bytes]:
    body = b""
    for number in range(random.randrange(4)):
        disposition = random.choice(_DISPOSITIONS) if number or random.random() < 0.3 else _DISPOSITIONS[0]
        content = json.dumps(_columns(random)).encode() if random.random() < 0.8 else random.randbytes(20)
        body += b"--b\r\nContent-Disposition: " + disposition.encode("latin-1") + b"\r\n\r\n" + content + b"\r\n"
    return FORM, body + b"--b--\r\n"


def _junk(random: Random) -> tuple[str, bytes]:
    return random.choice((JSON, CSV, PARQUET, FORM)), random.randbytes(random.choice((0, 1, 10, 1000)))


def large(random: Random) -> Sent:
    """Beyond one limit or another of the server, or just within."""
    many = random.choice((10_000, 60_000))
    bodies: list[tuple[str, bytes]] = [
        (JSON, json.dumps({"inputs": {str(number): [1] for number in range(many)}}).encode()),
        (JSON, json.dumps({"dataframe_records": [{str(number): 1} for number in range(many // 20)]}).encode()),
        (JSON, b'{"inputs": ' + b"[" * many + b"]" * many + b"}"),
        (JSON, b'{"inputs": ' + b"9" * many + b"}"),
        (CSV, b"a," * (many // 20) + b"a\n1"),
        (FORM, b"--b\r\n" * many),
        (JSON, bytes(1 << 20)),
    ]
    media_type, body = random.choice(bodies)
    return Sent("/predict" if media_type == FORM else "/invocations", {"content-type": media_type}, body)


def _spoilt(random: Random, body: bytes) -> bytes:
    where = random.randrange(len(body) + 1)
    if random.random() < 0.5:
        return body[:where]
    return body[:where] + random.randbytes(random.choice((1, 1, 2, 8))) + body[where + 1 :]


_BODIES: list[Callable[[Random], tuple[str | None, bytes]]] = [
    *[_json] * 6,
    _found,
    *[_csv] * 2,
    _parquet,
    *[_multipart] * 2,
    _junk,
]
