"""Requests made to confuse, crash or stall the server are refused, each with its status, and the next is answered."""

# ruff: noqa: T201 - the figures are reported

from __future__ import annotations

import io
import json
import re
import socket
from collections import Counter

import httpx
import pandas as pd
import pytest

from modelserver.http.host_header import is_foreign_name
from tests.modelserver.conftest import Address
from tests.modelserver.hostile_clients import FORM, HEAD, ask, connected, read_all, send

JSON = "application/json"
CSV = "text/csv"
PARQUET = "application/vnd.apache.parquet"
PING = b"GET /ping HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
_POST = b"POST /invocations HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: text/csv\r\n"

# What is sent, and the status of the one answer that may come back; None: the connection ends without one.
WIRE: dict[str, tuple[bytes, int | None]] = {
    "two lengths": (_POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\na\n1\n", 400),
    "a list of lengths": (_POST + b"Content-Length: 5, 6\r\n\r\na\n1\n", 400),
    "a negative length": (_POST + b"Content-Length: -1\r\n\r\n", 400),
    "a signed length": (_POST + b"Content-Length: +5\r\n\r\na\n1\n1", 400),
    "a length of a thousand digits": (_POST + b"Content-Length: " + b"9" * 1000 + b"\r\n\r\n", 400),
    "a length that is no number": (_POST + "Content-Length: ٣\r\n\r\n".encode(), 400),
    "a length and chunks": (_POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunks and a length": (_POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 400),
    "chunks in HTTP/1.0": (b"POST /ping HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "two encodings of the transfer": (_POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 501),
    "an unknown encoding of the transfer": (_POST + b"Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n", 501),
    "an obscured encoding of the transfer": (_POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    "a space before the colon": (_POST + b"Content-Length : 5\r\n\r\na\n1\n1", 400),
    "a chunk size that is none": (_POST + b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", 400),
    "a chunk longer than it says": (_POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n", 400),
    "chunks of one byte": (_POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 9000, 400),
    "a bare line feed after the request line": (PING.replace(b"1.1\r\n", b"1.1\n"), 400),
    "a bare line feed after a header": (PING.replace(b"Host: x\r\n", b"Host: x\n"), 400),
    "a bare line feed as the empty line": (PING.replace(b"\r\n\r\n", b"\r\n\n"), 400),
    "bare line feeds alone": (PING.replace(b"\r\n", b"\n"), 400),
    "a bare line feed within a header": (PING.replace(b"Host: x", b"Host: x\r\nX: y\n Z: w"), 400),
    "a bare line feed after a chunk's size": (_POST + b"Transfer-Encoding: chunked\r\n\r\n1\na\r\n0\r\n\r\n", 400),
    "a bare line feed in a chunk's extension": (
        _POST + b"Transfer-Encoding: chunked\r\n\r\n1;x\ny\r\na\r\n0\r\n\r\n",
        400,
    ),
    "a bare line feed after a chunk": (_POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\n0\r\n\r\n", 400),
    "a bare line feed after the last chunk": (_POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\n\r\n", 400),
    "a folded first header": (b"GET /ping HTTP/1.1\r\n Host: x\r\n\r\n", 400),
    "a bare carriage return": (b"GET /ping HTTP/1.1\r\nHost: x\rX: y\r\n\r\n", 400),
    "a NUL in the path": (b"GET /ping\0 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a NUL in a header": (b"GET /ping HTTP/1.1\r\nHost: x\0\r\n\r\n", 400),
    "an encoded NUL in the path": (PING.replace(b"/ping", b"/ping%00"), 404),
    "a path out of the root": (PING.replace(b"/ping", b"/../../etc/passwd"), 404),
    "an encoded path out of the root": (PING.replace(b"/ping", b"/%2e%2e/%2e%2e/etc/passwd"), 404),
    "bytes above ASCII in the path": (PING.replace(b"/ping", b"/p\xfcng"), 400),
    "an encoded path that is not UTF-8": (PING.replace(b"/ping", b"/%ff%fe"), 404),
    "an absolute URI": (PING.replace(b"/ping", b"http://elsewhere/ping"), 404),
    "another's authority": (b"CONNECT elsewhere:443 HTTP/1.1\r\nHost: elsewhere\r\nConnection: close\r\n\r\n", 404),
    "all of the server": (b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
    "no host": (b"GET /ping HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET /ping HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
    "a method of its own": (PING.replace(b"GET", b"BREW"), 405),
    "a method of 60 kB": (PING.replace(b"GET", b"A" * 60_000), 431),
    "a path of 60 kB": (PING.replace(b"/ping", b"/" + b"a" * 60_000), 431),
    "a header of 60 kB": (PING.replace(b"Host: x", b"Host: x\r\nX: " + b"a" * 60_000), 431),
    "a thousand headers": (PING.replace(b"Host: x", b"Host: x" + b"\r\nX: y" * 1000), 431),
    "a head without an end": (b"GET /ping HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 600_000, 431),
    "no HTTP at all": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), 400),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", 505),
    "HTTP/2 by its version": (PING.replace(b"HTTP/1.1", b"HTTP/2.0"), 505),
    "HTTP/0.9": (b"GET /ping\r\n\r\n", 400),
    "an upgrade to HTTP/2": (PING.replace(b"Connection: close", b"Connection: close, Upgrade\r\nUpgrade: h2c"), 200),
    "an upgrade to a websocket": (
        PING.replace(
            b"Connection: close",
            b"Connection: close, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ),
        200,
    ),
    "nothing": (b"", None),
    "empty lines": (b"\r\n" * 3, 400),
    "half a head": (b"GET /ping HTTP/1.1\r\nHo", None),
    "half a body": (_POST + b"Content-Length: 50\r\n\r\na\n", None),
}


@pytest.mark.parametrize("name", WIRE)
def test_what_is_no_request_of_this_server_is_refused(name: str, echo: Address) -> None:
    """One answer with the release, then the end of the connection: no second request is read from what is left."""
    sent, status = WIRE[name]
    for address in (("127.0.0.1", int(echo.client.base_url.port or 0)), echo.unix):
        answer = ask(address, sent, half_close=status is None)
        statuses = re.findall(rb"HTTP/1\.1 (\d+) ", answer)
        assert statuses == ([] if status is None else [b"%d" % status])
        assert status is None or b"model-release: echo@1.0badcafe\r\n" in answer
    assert echo.client.get("/ping").status_code == 200


_IN_CHUNKS = b"POST /nothing HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
_LINE_FEEDS = {
    "in the head": b"POST /nothing HTTP/1.1\r\nHost: x\r\nX: y\nContent-Length: 0\r\n\r\n",
    "at the end of the head": b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\n",
    "at the end of chunks": _IN_CHUNKS + b"0\r\n\n",
    "in a trailer": _IN_CHUNKS + b"0\r\nX: y\nZ: w\r\n\r\n",
    "after the trailers": _IN_CHUNKS + b"1\r\na\r\n0\r\nX: y\r\nZ: w\r\n\n",
    "in a folded trailer": _IN_CHUNKS + b"1\r\na\r\n0\r\nX: y\n Z: w\r\n\r\n",
}


@pytest.mark.parametrize("pieces", [False, True])
@pytest.mark.parametrize("where", _LINE_FEEDS)
def test_nothing_is_answered_after_a_bare_line_feed(where: str, pieces: bool, echo: Address) -> None:
    """Also when it comes byte by byte: what is in front of this server may have read the lines as one."""
    sent = _LINE_FEEDS[where] + PING
    address = ("127.0.0.1", int(echo.client.base_url.port or 0))
    with connected(address, 1) as (connection,):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in (sent[index : index + 1] for index in range(len(sent))) if pieces else (sent,):
            send(connection, piece)
        statuses = re.findall(rb"HTTP/1\.1 (\d+) ", read_all(connection))
    # Of a body that is not wanted the end may come after the answer; then nothing follows it.
    assert statuses in ([b"400"], [b"404"])


@pytest.mark.parametrize("behind", [b"\r\n", b"x", PING])
def test_what_follows_the_last_request_of_a_connection_means_nothing(behind: bytes, echo: Address) -> None:
    """The client has said that it is the last one, and it is answered as if there were nothing behind it."""
    assert re.findall(rb"HTTP/1\.1 (\d+) ", ask(echo.unix, PING + behind)) == [b"200"]


@pytest.mark.parametrize("end", [b"XX", b"\n\n", b"\r\r", b"\n\r", b"\r", b""])
def test_nothing_is_answered_after_a_chunk_that_does_not_end_as_it_should(end: bytes, echo: Address) -> None:
    """What is in front of this server may have taken these bytes for the beginning of the next chunk."""
    sent = _IN_CHUNKS + b"1\r\na" + end + b"1\r\nb\r\n0\r\n\r\n" + PING
    assert re.findall(rb"HTTP/1\.1 (\d+) ", ask(echo.unix, sent)) == [b"400"]


def test_chunks_and_trailers_that_end_as_they_should_are_read(echo: Address) -> None:
    """Whatever stands in them, and two requests in one packet or byte by byte."""
    body = _META + _file(b"x", b"a.wav")[len(_META) :]
    chunks = b"".join(
        b"%x;n=1\r\n%s\r\n" % (len(body[at : at + 50]), body[at : at + 50]) for at in range(0, len(body), 50)
    )
    for end in (b"0\r\n\r\n", b"000;x=y\r\nX: y\r\n\r\n", b"0\r\nX: y\r\nZ: 0\r\nX: y\r\n\r\n"):
        request = f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks + end
        answer = ask(echo.unix, request + request + PING)
        assert re.findall(rb"HTTP/1\.1 (\d+) ", answer) == [b"200"] * 3


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("evil.example:{port}", 421),
        ("EVIL.example.:{port}", 421),
        ("127.0.0.1.evil.example:{port}", 421),
        ("localhost.evil.example:{port}", 421),
        (f"{socket.gethostname().partition('.')[0]}.evil.example:{{port}}", 421),
        ("127.0.0.1:{port}", 200),
        ("127.1:{port}", 200),
        ("[::1]:{port}", 200),
        ("[::ffff:127.0.0.1]:{port}", 200),
        ("localhost:{port}", 200),
        ("model.localhost:{port}", 200),
        (f"{socket.gethostname()}:{{port}}", 200),
        ("model:{port}", 200),
        ("model", 200),
        # A proxy on this host that passes on by which name, and which port, it was asked.
        ("models.example.org", 200),
        ("models.example.org:443", 200),
    ],
)
def test_a_browser_that_a_foreign_name_led_here_is_refused(host: str, status: int, echo: Address) -> None:
    """On the loopback port, whatever the path. No browser gets at the unix socket, whose clients may say anything."""
    port = int(echo.client.base_url.port or 0)
    named = host.format(port=port).encode()
    for request in (PING, PING.replace(b"/ping", b"/docs"), PING.replace(b"/ping", b"/openapi.json")):
        answer = ask(("127.0.0.1", port), request.replace(b"Host: x", b"Host: " + named))
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert status == 200 or b'{"error_code": "BAD_REQUEST", "message": "cannot answer: ' in answer
    # Only over TLS does a browser know that a name with dots is that of the server.
    headers = {"host": named.decode(), "origin": f"https://{named.decode()}", "content-type": FORM}
    assert echo.client.post("/predict", content=_META + _END, headers=headers).status_code == status
    assert ask(echo.unix, PING.replace(b"Host: x", b"Host: " + named)).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("address", "refused"),
    [
        (("127.0.0.1", 20001), True),
        (("127.0.1.1", 20001), True),
        (("::1", 20001, 0, 0), True),
        (("::ffff:127.0.0.1", 20001, 0, 0), True),
        (("127.0.0.1", 20002), False),
        (("192.0.2.1", 20001), False),
        (("2001:db8::1", 20001, 0, 0), False),
        ("/run/models/x.sock", False),
        (None, False),
    ],
)
def test_a_foreign_name_matters_on_loopback_only(address: object, refused: bool) -> None:
    """Elsewhere a host has names that it does not know."""
    assert is_foreign_name(b"evil.example:20001", address) == refused
    for odd in (
        b"evil.example:x",
        b"evil.example:" + b"9" * 5000,
        "evil.example:\u0662".encode(),
        b"",
        b":20001",
        b"]:[",
    ):
        assert not is_foreign_name(odd, address)


ENCODINGS = (b"chunked", b"Chunked", b" chunked", b"\tchunked", b"chunked ", b"identity", b"chunked,chunked")


def test_a_second_request_hidden_in_the_first_is_not_answered(echo: Address) -> None:
    """What follows a request that could be read in two ways is never read as a request."""
    tried = 0
    for length in (b"Content-Length: 0\r\n", b"Content-Length: 4\r\n", b""):
        for encoding in (
            b"chunked",
            b"Chunked",
            b" chunked",
            b"\tchunked",
            b"chunked ",
            b"identity",
            b"chunked,chunked",
        ):
            for body in (b"0\r\n\r\n", b"4\r\nping\r\n0\r\n\r\n"):
                head = b"POST /nothing HTTP/1.1\r\nHost: x\r\n" + length + b"Transfer-Encoding: " + encoding + b"\r\n"
                answer = ask(echo.unix, head + b"\r\n" + body + PING)
                first = re.findall(rb"HTTP/1\.1 (\d+) ", answer)
                # With one length only it is an ordinary request, and PING the next one.
                plain = not length and encoding.strip().lower() == b"chunked"
                assert first == ([b"404", b"200"] if plain else first[:1])
                assert plain or first[0] in (b"400", b"501")
                tried += 1
    print(f"\nhidden requests: {tried} tried, 0 answered")


def _part(headers: bytes, content: bytes = b"{}") -> bytes:
    return b"--b\r\n" + headers + b"\r\n\r\n" + content + b"\r\n"


_NAMED = b'Content-Disposition: form-data; name="'
_META = _part(_NAMED + b'metadata"')
_END = b"--b--\r\n"


def _file(name: bytes, filename: bytes) -> bytes:
    return _META + _part(_NAMED + name + b'"; filename="' + filename + b'"', b"x") + _END


MULTIPART: dict[str, tuple[str, bytes]] = {
    "no boundary": ("multipart/form-data", _META + _END),
    "an empty boundary": ('multipart/form-data; boundary=""', _META + _END),
    "a boundary of 30 kB": ("multipart/form-data; boundary=" + "b" * 30_000, _META + _END),
    "another boundary": ("multipart/form-data; boundary=c", _META + _END),
    "a boundary that is not ASCII": ("multipart/form-data; boundary=\xe9", _META + _END),
    "no end": (FORM, _META),
    "nothing but an end": (FORM, _END),
    "only boundaries": (FORM, b"--b\r\n" * 200_000),
    "two thousand parts": (
        FORM,
        _META + b"".join(_part(_NAMED + b'p%d"; filename="f"' % i) for i in range(2000)) + _END,
    ),
    "a part header of a megabyte": (FORM, _META + _part(b"X: " + b"a" * (1 << 20)) + _END),
    "a part header name of a megabyte": (FORM, _META + _part(b"a" * (1 << 20) + b": x") + _END),
    "a hundred thousand part headers": (FORM, _META + _part(b"X: y\r\n" * 100_000 + b"X: y") + _END),
    "a part header without an end": (FORM, b"--b\r\nX: " + b"a" * (2 << 20)),
    "a name of a hundred kilobytes": (FORM, _META + _part(_NAMED + b"a" * 100_000 + b'"; filename="f"') + _END),
    "another multipart inside, as metadata": (FORM, _part(_NAMED + b'metadata"', _META.replace(b"--b", b"--c")) + _END),
    "the same name twice": (FORM, _META + _file(b"x", b"y")[len(_META) : -len(_END)] * 2 + _END),
    "metadata twice": (FORM, _META + _META + _END),
    "metadata of two megabytes": (FORM, _part(_NAMED + b'metadata"', b'{"a": "' + b"x" * (2 << 20) + b'"}') + _END),
    "metadata of a hundred thousand levels": (FORM, _part(_NAMED + b'metadata"', b'{"a":' * 100_000) + _END),
    "metadata with a number of a hundred thousand digits": (
        FORM,
        _part(_NAMED + b'metadata"', b'{"a": ' + b"9" * 100_000 + b"}") + _END,
    ),
    "a filename with a path": (FORM, _file(b"x", b"../../etc/passwd")),
    "a filename with a path of Windows": (FORM, _file(b"x", b"..\\\\..\\\\evil")),
    "a filename with a NUL": (FORM, _file(b"x", b"a\0.wav")),
    "a filename that reads backwards": (FORM, _file(b"x", "a\u202evaw.exe".encode())),
    "a filename with an escape sequence": (FORM, _file(b"x", b"\x1b[2Ja.wav")),
    "a name with a NUL": (FORM, _file(b"x\0y", b"a.wav")),
    "a name that reads backwards": (FORM, _file("x\u202ey".encode(), b"a.wav")),
    "lookalikes of the boundary": (FORM, b"--b\r\n" + b"\r\n--" * 500_000),
    "empty lines before the first boundary": (FORM, b"\r\n" * 1_000_000 + b"x"),
    "quotes without end in a part header": (FORM, _META + _part(_NAMED + b'x"; filename="' + b'\\"' * 4000) + _END),
}


@pytest.mark.parametrize("name", MULTIPART)
def test_multipart_that_is_broken_or_odd_is_refused_with_a_sentence(name: str, echo: Address) -> None:
    """400 or 415, and the model has not seen it."""
    content_type, body = MULTIPART[name]
    answer = echo.client.post("/predict", content=body, headers=[(b"content-type", content_type.encode("latin-1"))])
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("cannot read ")
    assert len(answer.content) < 10_000


def test_what_follows_the_end_of_multipart_means_nothing(echo: Address) -> None:
    """Megabytes of it neither, nor of what may precede it."""
    answer = echo.client.post("/predict", content=_META + _END + b"\r\n" * 1_000_000, headers={"content-type": FORM})
    assert answer.status_code == 200


def _deep(before: str, level: tuple[str, str], levels: int, after: str = "}") -> bytes:
    return (before + level[0] * levels + "1" + level[1] * levels + after).encode()


FORMATS = ("dataframe_split", "dataframe_records", "instances", "inputs", "messages", "params", "elsewhere")


@pytest.mark.parametrize("levels", [10, 100, 900, 100_000])
@pytest.mark.parametrize("key", FORMATS)
def test_deep_json_is_refused_in_every_format(key: str, levels: int, ridge: Address) -> None:
    """4xx, never a crash: neither of Python's recursion nor of the stack below it."""
    statuses: Counter[int] = Counter()
    for level in (("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")):
        for before in ("{", '{"inputs":[[1,2]],'):
            answer = ridge.client.post(
                "/invocations",
                content=_deep(f'{before}"{key}":', level, levels),
                headers={"content-type": JSON},
            )
            statuses[answer.status_code] += 1
            assert levels < 1000 or "nested too deeply" in answer.json()["message"]
    assert set(statuses) == {400}
    assert ridge.client.get("/ping").status_code == 200


def _squared(count: int) -> dict[str, tuple[str, bytes]]:
    """Bodies whose table has `count` rows and `count` columns, although the body is short."""
    row = dict.fromkeys((f"k{index}" for index in range(count)), 1)
    tables: dict[str, object] = {
        "records without a common key": {"dataframe_records": [{name: 1} for name in row]},
        "instances without a common key": {"instances": [{name: 1} for name in row]},
        "one long row": {"dataframe_split": {"data": [[1] * count, *([[]] * count)]}},
        "one long record": {"dataframe_records": [row, *([{}] * count)]},
        "an index and columns alone": {
            "dataframe_split": {"index": list(range(count)), "columns": list(row), "data": []}
        },
        "one long column": {"inputs": {"age": [1] * count, **row}},
    }
    return {name: (JSON, json.dumps(table).encode()) for name, table in tables.items()}


def _parquet_bomb() -> bytes:
    buffer = io.BytesIO()
    pd.DataFrame({"age": [0.0] * 15_000_000, "spo2": [0.0] * 15_000_000}).to_parquet(buffer)
    return buffer.getvalue()


LARGER_THAN_IT_LOOKS: dict[str, tuple[str, bytes]] = {
    **_squared(50_000),
    "a million empty lists": (JSON, b'{"inputs":[' + b"[]," * 1_100_000 + b"[]]}"),
    "a million empty objects": (JSON, b'{"dataframe_records":[' + b"{}," * 1_100_000 + b"{}]}"),
    "a hundred thousand columns": (CSV, b",".join(b"%d" % index for index in range(100_000)) + b"\n1"),
    "a hundred thousand names": (JSON, json.dumps({"inputs": {str(index): [1] for index in range(100_000)}}).encode()),
    "equal columns": (CSV, b"a," * 200_000 + b"a\n1"),
    "equal columns after empty lines": (CSV, b"\n  \n\r\n" + b'"a",' * 200_000 + b"a\n1"),
    "columns that become equal": (CSV, b",".join(b"a.%d" % index for index in range(50_000)) + b",a,a\n1"),
    "a quote without end": (CSV, b'age,spo2\n"' + b"a," * 1_000_000),
    "a number of a hundred thousand digits": (JSON, b'{"inputs": ' + b"9" * 100_000 + b"}"),
    "a number of a hundred thousand digits in a column": (CSV, b"age,spo2\n" + b"9" * 100_000 + b",1"),
    "a parquet file of thirty million values": (PARQUET, _parquet_bomb()),
}


LEFT_TO_MLFLOW = ("a quote without end", "a number of a hundred thousand digits in a column")
"""Which it refuses as fast as it would serve them."""


@pytest.mark.parametrize("name", LARGER_THAN_IT_LOOKS)
def test_a_body_that_would_grow_is_refused_before_it_does(name: str, ridge: Address) -> None:
    """The work for a body is bounded by its length, and not by the square of it."""
    content_type, body = LARGER_THAN_IT_LOOKS[name]
    answer = ridge.client.post("/invocations", content=body, headers={"content-type": content_type})
    assert answer.status_code == 400
    ours = answer.json()["message"].startswith("cannot read the request: ")
    assert ours == (name not in LEFT_TO_MLFLOW), answer.text


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, identity", "x"])
@pytest.mark.parametrize("path", ["/predict", "/invocations"])
def test_an_encoded_body_is_refused_unread(path: str, encoding: str, echo: Address) -> None:
    """415, whatever it is encoded with; `identity` says nothing."""
    headers = {"content-encoding": encoding, "content-type": FORM}
    answer = echo.client.post(path, content=b"\x1f\x8b\x08", headers=headers)
    assert answer.status_code == 415
    assert answer.json()["message"] == f"cannot read the request: it is encoded as {encoding!r}; send it as it is"
    headers["content-encoding"] = "Identity"
    assert echo.client.post("/predict", content=_META + _END, headers=headers).status_code == 200


def test_numbers_that_json_does_not_know_do_not_stop_the_server(ridge: Address) -> None:
    """NaN, infinities and integers beyond every float: an answer or a refusal, as MLflow has it."""
    for number in ("NaN", "Infinity", "-Infinity", "1e999", "9" * 400, "-0", "1" + "0" * 4000):
        for table in ('{"inputs":{"age":[%s],"spo2":[1]}}', '{"dataframe_records":[{"age":%s,"spo2":1}]}'):
            answer: httpx.Response = ridge.client.post(
                "/invocations", content=(table % number).encode(), headers={"content-type": JSON}
            )
            assert answer.status_code in (200, 400)
            answer.json()
