"""Who is let in, who has to go, and which bodies are left for MLflow to judge."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pandas as pd
import pytest
from starlette.requests import Request

from modelserver.http import peers
from modelserver.http.body import BodyTooLargeError, declared
from modelserver.http.body_memory import Buffers, BusyError, Upload
from modelserver.http.connection_limit import Crowd, Doing
from modelserver.model.table_limits import Taken, refusal


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
    assert peers.allowed(host, [peers.network(text) for text in networks]) == allowed


@pytest.mark.parametrize("text", ["", "10.0.0.1/8", "10.0.0.0/33", "localhost", "10.0.0"])
def test_what_is_no_network_is_refused(text: str) -> None:
    """Before anybody is let in by a mistake."""
    with pytest.raises(ValueError, match=r"."):
        peers.network(text)


class _Client:
    """A connection that notes that it had to go."""

    def __init__(self, name: str, pace: float = 0.0) -> None:
        self.name, self._pace = name, pace
        self.gone = False

    def pace(self, now: float) -> float:  # noqa: ARG002 - it always has the same
        return self._pace

    def evict(self) -> None:
        self.gone = True


@pytest.mark.parametrize(
    ("clients", "leaves"),
    [
        ([("a", Doing.WAITING, 0), ("b", Doing.WAITING, 0), ("c", Doing.ANSWERED, 0)], "a"),
        ([("a", Doing.SENDING, 9), ("b", Doing.SENDING, 3), ("c", Doing.WAITING, 0)], "b"),
        ([("a", Doing.SENDING, 9), ("b", Doing.WAITING, 0), ("c", Doing.WAITING, 0)], "b"),
        ([("a", Doing.ANSWERED, 0), ("b", Doing.SENDING, 9), ("c", Doing.ANSWERED, 0)], "b"),
        ([("a", Doing.ANSWERED, 0), ("b", Doing.ANSWERED, 0), ("c", Doing.ANSWERED, 0)], None),
    ],
)
def test_a_newcomer_takes_the_place_that_can_be_spared(
    clients: list[tuple[str, Doing, float]], leaves: str | None
) -> None:
    """Of the larger group the one that waited longest or the slowest sender; never one that is being answered."""
    crowd = Crowd(3)
    members = [_Client(name, pace) for name, _, pace in clients]
    for member, (_, doing, _) in zip(members, clients, strict=True):
        assert crowd.make_room(0.0)
        crowd.move(member, doing)
    assert crowd.make_room(0.0) == (leaves is not None)
    assert [member.name for member in members if member.gone] == ([leaves] if leaves else [])
    assert len(crowd) == 3 - bool(leaves)


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
        buffers, hold = Buffers(100), asyncio.Event()
        small, large, complete = Upload(buffers), Upload(buffers), Upload(buffers)
        await complete.receive(_request([b"x" * 60]), 100)
        receiving = asyncio.ensure_future(large.receive(_request([b"x" * 30], hold=hold), 100))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert buffers.used == 90
        await small.receive(_request([b"x" * 20], 20), 100)
        with pytest.raises(BusyError):
            await receiving
        assert (buffers.used, bytes(small.body), len(complete.body)) == (80, b"x" * 20, 60)
        for said in (30, None):  # with a length before the first byte, without one at the limit
            newcomer = Upload(buffers)
            with pytest.raises(BusyError):
                await newcomer.receive(_request([b"x" * 30], said), 100)
            newcomer.release()
            assert buffers.used == 80
        with pytest.raises(BodyTooLargeError):
            await Upload(buffers).receive(_request([], 101), 100)
        late = Upload(buffers)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(late.receive(_request([b"x"], hold=hold), 100), 0.01)
        late.release()
        small.release()
        complete.release()
        complete.release()
        assert buffers.used == 0

    asyncio.run(story())


@pytest.mark.parametrize(("text", "size"), [("", 0), ("x", 0), ("-1", 0), ("7", 7), ("9" * 5000, 10**19)])
def test_any_length_that_a_client_declares_can_be_compared(text: str, size: int) -> None:
    """Python refuses to read a number of thousands of digits; such a body is too large all the same."""
    request = Request({"type": "http", "headers": [(b"content-length", text.encode())]})
    assert declared(request) == size


ANYTHING = Taken(records=True, rows=True, columns=True, one_row=False)
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
    assert refusal(body, mime_type, ANYTHING) is None
