"""Who is let in, who has to go, and which bodies are left for MLflow to judge."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pandas as pd
import pytest
from starlette.requests import Request

from modelserver.http import peers
from modelserver.http.body_memory import BodyMemory, BodyTooLargeError, BusyError, Upload, declared_length
from modelserver.http.connection_limit import ConnectionLimit, ConnectionPhase
from modelserver.model.json_tables import TableInputs
from modelserver.model.table_limits import read_json, why_too_large

IN_HEAD, IN_BODY = ConnectionPhase.READING_HEAD, ConnectionPhase.READING_BODY
COMPLETE = ConnectionPhase.REQUEST_COMPLETE


@pytest.mark.parametrize(
    ("host", "networks", "allowed"),
    [
        ("192.0.2.1", [], True),
        ("10.1.2.3", ["10.0.0.0/8"], True),
        ("11.1.2.3", ["10.0.0.0/8"], False),
        ("11.1.2.3", ["10.0.0.0/8", "11.1.2.3"], True),
        ("::ffff:10.1.2.3", ["10.0.0.0/8"], True),
        ("::ffff:11.1.2.3", ["10.0.0.0/8"], False),
        ("10.1.2.3", ["::ffff:10.0.0.0/104"], True),
        ("11.1.2.3", ["::ffff:10.0.0.0/104"], False),
        ("10.1.2.3", ["::/0"], False),
        ("fe80::1%eth0", ["fe80::/10"], True),
        ("2001:db8::1", ["2001:db8::/32"], True),
        ("2001:db9::1", ["2001:db8::/32", "0.0.0.0/0"], False),
        ("no address", ["0.0.0.0/0", "::/0"], False),
        ("", ["0.0.0.0/0"], False),
    ],
)
def test_a_peer_is_an_address_of_one_of_the_networks(host: str, networks: list[str], allowed: bool) -> None:
    """An IPv4 address mapped into IPv6 is the IPv4 address."""
    assert peers.is_allowed(host, [peers.network(text) for text in networks]) == allowed


@pytest.mark.parametrize("text", ["", "10.0.0.1/8", "10.0.0.0/33", "localhost", "10.0.0"])
def test_what_is_no_network_is_refused(text: str) -> None:
    """Before anybody is let in by a mistake."""
    with pytest.raises(ValueError, match=r"."):
        peers.network(text)


class _Client:
    """A connection that notes that it had to go."""

    def __init__(self, name: str, body_rate: float) -> None:
        self.name, self._body_rate = name, body_rate
        self.gone = False

    def body_rate(self, now: float) -> float:  # noqa: ARG002 - it always has the same
        return self._body_rate

    def abort(self) -> None:
        self.gone = True


@pytest.mark.parametrize(
    ("clients", "leaves"),
    [
        ([("a", IN_HEAD, 0), ("b", IN_HEAD, 0), ("c", COMPLETE, 0)], "a"),
        ([("a", IN_BODY, 9), ("b", IN_BODY, 3), ("c", IN_HEAD, 0)], "b"),
        ([("a", IN_BODY, 9), ("b", IN_HEAD, 0), ("c", IN_HEAD, 0)], "b"),
        ([("a", COMPLETE, 0), ("b", IN_BODY, 9), ("c", COMPLETE, 0)], "b"),
        ([("a", COMPLETE, 0), ("b", COMPLETE, 0), ("c", COMPLETE, 0)], None),
    ],
)
def test_a_newcomer_takes_the_place_that_can_be_spared(
    clients: list[tuple[str, ConnectionPhase, float]], leaves: str | None
) -> None:
    """Of the larger group the one that waited longest or the slowest sender; never one that is being answered."""
    limit = ConnectionLimit(3)
    connections = [_Client(name, body_rate) for name, _, body_rate in clients]
    for connection, (_, phase, _) in zip(connections, clients, strict=True):
        assert limit.make_room(0.0)
        limit.set_phase(connection, phase)
    assert limit.make_room(0.0) == (leaves is not None)
    assert [connection.name for connection in connections if connection.gone] == ([leaves] if leaves else [])
    assert len(limit) == 3 - bool(leaves)


def _request(body: list[bytes], declared: int | None = None, hold: asyncio.Event | None = None) -> Request:
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in body]

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        if hold is not None:
            await hold.wait()
        return {"type": "http.request", "body": b"", "more_body": False}

    headers = [] if declared is None else [(b"content-length", b"%d" % declared)]
    return Request({"type": "http", "headers": headers}, receive)


def test_the_largest_body_gives_way_to_the_smaller_ones() -> None:
    """Its memory is free at once, that of a complete body only when it was used."""

    async def story() -> None:
        memory, hold = BodyMemory(100), asyncio.Event()
        small, large, complete = Upload(memory), Upload(memory), Upload(memory)
        await complete.receive(_request([b"x" * 60]), 100)
        receiving = asyncio.ensure_future(large.receive(_request([b"x" * 30], hold=hold), 100))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert memory.used == 90
        await small.receive(_request([b"x" * 20], 20), 100)
        with pytest.raises(BusyError):
            await receiving
        assert (memory.used, bytes(small.body), len(complete.body)) == (80, b"x" * 20, 60)
        for said in (30, None):  # with a length before the first byte, without one at the limit
            newcomer = Upload(memory)
            with pytest.raises(BusyError):
                await newcomer.receive(_request([b"x" * 30], said), 100)
            newcomer.free()
            assert memory.used == 80
        with pytest.raises(BodyTooLargeError):
            await Upload(memory).receive(_request([], 101), 100)
        late = Upload(memory)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(late.receive(_request([b"x"], hold=hold), 100), 0.01)
        late.free()
        small.free()
        complete.free()
        complete.free()
        assert memory.used == 0

    asyncio.run(story())


@pytest.mark.parametrize(("text", "size"), [("", 0), ("x", 0), ("-1", 0), ("7", 7), ("9" * 5000, 10**19)])
def test_any_length_that_a_client_declares_can_be_compared(text: str, size: int) -> None:
    """Python refuses to read a number of thousands of digits; such a body is too large all the same."""
    request = Request({"type": "http", "headers": [(b"content-length", text.encode())]})
    assert declared_length(request) == size


ANYTHING = TableInputs(records=True, rows=True, columns=True, one_row=False)
LEFT_ALONE: dict[str, tuple[str, bytes]] = {
    "a table of 600000 rows": (
        "application/json",
        json.dumps({"dataframe_split": {"columns": ["a", "b"], "data": [[1, 2]] * 600_000}}).encode(),
    ),
    "a wide table": ("text/csv", pd.DataFrame([[1] * 30_000]).to_csv(index=False).encode()),
    "records with a few keys of their own": (
        "application/json",
        json.dumps({"dataframe_records": [{"a": 1, f"k{index}": 2} for index in range(900)]}).encode(),
    ),
    "a long row and a few short ones": (
        "application/json",
        json.dumps({"inputs": [[1] * 100_000, [1]]}).encode(),
    ),
    "what is not JSON": ("application/json", b"{"),
    "what is not UTF-8": ("application/json", b'{"inputs": "\xff"}'),
    "what is no object": ("application/json", b"[1]"),
    "nothing": ("application/json", b""),
    "a CSV that is not UTF-8": ("text/csv", b"a,b\n" + b"\xff," * 3000),
    "no parquet": ("application/vnd.apache.parquet", b"PAR1"),
    "another type": ("text/xml", b"<a/>"),
}


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_everything_else_is_left_for_mlflow_to_judge(name: str) -> None:
    """Whether it is good or bad."""
    mime_type, body = LEFT_ALONE[name]
    why = read_json(body, ANYTHING)[0] if mime_type == "application/json" else why_too_large(body, mime_type)
    assert why is None
