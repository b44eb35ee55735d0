"""What becomes of one request, and of many at once, with a broker, a store and a server that are there."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.bridge.conftest import Start
from tests.bridge.process import NAME
from tests.nats_server import Nats
from tests.s3 import Buckets
from tests.spira.client import KINDS, SpiraClient, connect, load, metadata, store_all, storing

RECORDINGS = {kind: (kind * 50).encode() for kind in KINDS}
PATIENCE = 60.0


@asynccontextmanager
async def api(
    broker: Nats, store: Buckets, *, store_is_there: bool = True, url: str = ""
) -> AsyncIterator[SpiraClient]:
    """The API of the hospital, connected and listening; it can store nothing where the store is not there."""
    connection = await connect(url or broker.url)
    put = storing(store.url, store.access_key, store.secret_key) if store_is_there else _store_nothing
    client = SpiraClient(connection, NAME, put)
    await client.listen()
    try:
        yield client
    finally:
        await connection.close()


def _store_nothing(key: str, _content: bytes) -> None:
    raise AssertionError(f"{key} cannot be stored: there is no store")


class Failures:
    """What is published on the subject for requests that were given up."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def listen(self, client: SpiraClient) -> None:
        """Begin to listen."""
        await client.client.subscribe(f"{NAME}-topic.failed", cb=self._on_message)
        await client.client.flush(5)

    async def _on_message(self, message: Any) -> None:
        self.heard.put_nowait(json.loads(message.data))

    async def next(self) -> dict[str, Any]:
        """The next one."""
        return await asyncio.wait_for(self.heard.get(), PATIENCE)


def ids(count: int) -> list[str]:
    """What `load` calls its requests."""
    return [f"i{number:05d}" for number in range(count)]


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a test that is a coroutine."""
    asyncio.run(test())  # type: ignore[arg-type]  # each is an async function


def test_each_request_has_one_right_result(broker: Nats, bridge: Start, store: Buckets) -> None:
    """200 at once, of which the answers show which request and which bytes they belong to."""
    running = bridge(broker, "--concurrency", "8")
    running.wait_for("STATUS=connected")

    async def test() -> None:
        async with api(broker, store) as client:
            await store_all(client.store, ids(200), RECORDINGS)
            await load(client, 200, 1000, RECORDINGS)
            judgement = await client.settle(PATIENCE)
            assert judgement.is_perfect, judgement

    run(test)
    assert running.end() == 0
    assert running.line.endswith("answered=200 failed=0 waiting=0")


def test_the_result_is_exactly_what_the_api_reads(broker: Nats, bridge: Start, store: Buckets) -> None:
    """Three keys; and a recording that may be missing may be missing."""
    bridge(broker).wait_for("STATUS=connected")

    async def test() -> None:
        async with api(broker, store) as client:
            some = {kind: content for kind, content in RECORDINGS.items() if kind != "frase"}
            raw: asyncio.Queue[bytes] = asyncio.Queue()

            async def keep(message: Any) -> None:
                raw.put_nowait(message.data)

            await client.client.subscribe("result_updates", cb=keep)
            await client.ask("638f56f70acda5864ee0203a", 23, some)
            assert (await client.settle(PATIENCE)).is_perfect
            document = json.loads(await asyncio.wait_for(raw.get(), PATIENCE))
            assert sorted(document) == ["diagnosis", "inference_id", "output"]
            assert document["inference_id"] == "638f56f70acda5864ee0203a"

    run(test)


def asked(inference: object, **more: object) -> bytes:
    """A request as the API publishes it, with more in it."""
    return json.dumps({**metadata("x"), "id": inference, **more}).encode()


GIVEN_UP = [
    (b"\xff\xfe", "invalid-message", "it is no JSON in UTF-8"),
    (b"[" * 9_000, "invalid-message", "it is no JSON in UTF-8"),
    (b"[1]", "invalid-message", "it is no JSON object"),
    (b'{"age": NaN, "id": "x"}', "invalid-message", "it is no JSON in UTF-8"),
    (b"{}", "invalid-message", "it has no text as 'id'"),
    (asked(7), "invalid-message", "it has no text as 'id'"),
    (asked("../other"), "invalid-message", "its id has other characters"),
    (asked(".."), "invalid-message", "its id has other characters"),
    (asked("a/b"), "invalid-message", "its id has other characters"),
    (asked("a\n"), "invalid-message", "its id has other characters"),
    (asked("x" * 129), "invalid-message", "its id has other characters"),
    (asked("large", more="x" * 20_000), "message-too-large", "raise nats.max_message on the host"),
    (asked("nothing-stored"), "recording-missing", "there is no such recording"),
    (asked("stored", behave="raise"), "model-error", "it failed (HTTP 500)"),
    (asked("stored", behave="word"), "model-error", "it failed (HTTP 500)"),
    (asked("stored", behave="nan"), "model-error", "its numbers have NaN or infinity"),
    (asked("stored", behave="huge"), "model-error", "its numbers have NaN or infinity"),
    (asked("long"), "recording-too-large", "raise nats.max_recording on the host"),
]


@pytest.mark.parametrize("way", ["auto", "never"])
def test_what_cannot_be_answered_is_told_with_its_reason(
    jetstream: Nats, bridge: Start, store: Buckets, way: str
) -> None:
    """Each at `<name>-topic.failed`, with all that is needed to publish it again; the bridge goes on."""
    running = bridge(jetstream, "--max-message", "10000", "--max-recording", "10000", "--jetstream", way)
    running.wait_for("STATUS=connected")

    async def test() -> None:
        async with api(jetstream, store) as client:
            failures = Failures()
            await failures.listen(client)
            for kind, content in RECORDINGS.items():
                client.store(f"stored/{kind}.wav", content)
                client.store(f"long/{kind}.wav", b"x" * 20_000)
            for payload, outcome, why in GIVEN_UP:
                await client.client.publish(f"{NAME}-topic", payload)
                told = await failures.next()
                assert told["outcome"] == outcome, told
                assert why in told["reason"], told
                assert told["reason"].startswith("cannot "), told
                assert base64.b64decode(told["message"]) == payload
                assert told["model"] == NAME
            assert told["attempts"] == 1
            await client.ask("good", 5, RECORDINGS)
            assert (await client.settle(PATIENCE)).is_perfect

    run(test)
    assert running.end() == 0
    assert running.line.endswith(f"answered=1 failed={len(GIVEN_UP)} waiting=0")
    printed = running.printed()
    assert "12345678" not in printed, "what was said of a patient is in the log"
    assert printed.count("gave up request ") == len(GIVEN_UP)


def test_what_may_be_chance_is_tried_again(broker: Nats, bridge: Start, store: Buckets) -> None:
    """A recording that is stored a little late is found; a model that fails is asked as often as the settings say."""
    bridge(broker, "--attempts", "20").wait_for("STATUS=connected")

    async def test() -> None:
        async with api(broker, store) as client:
            failures = Failures()
            await failures.listen(client)
            late = f"late-{broker.port}"
            await client.publish(late, 7, RECORDINGS)
            # The one that may be missing comes first, or the others would be enough.
            for kind in reversed(RECORDINGS):
                client.store(f"{late}/{kind}.wav", RECORDINGS[kind])
            judgement = await client.settle(PATIENCE)
            assert judgement.is_perfect, judgement
            assert failures.heard.empty()

    run(test)


def test_the_same_request_published_twice_has_one_result(jetstream: Nats, bridge: Start, store: Buckets) -> None:
    """A client that does not know whether its request arrived may publish it again, also to another bridge."""
    first, second = bridge(jetstream), bridge(jetstream)
    first.wait_for("STATUS=connected")
    second.wait_for("STATUS=connected")

    async def test() -> None:
        async with api(jetstream, store) as client:
            await store_all(client.store, ids(50), RECORDINGS)
            await load(client, 50, 1000, RECORDINGS)
            await load(client, 50, 1000, RECORDINGS)
            assert (await client.settle(PATIENCE)).is_perfect
            await load(client, 50, 1000, RECORDINGS)
            await client.ask("last", 1, RECORDINGS)
            judgement = await client.settle(PATIENCE)
            assert judgement.is_perfect, judgement

    run(test)
    first.end()
    second.end()
    counts = [int(one.line.partition("answered=")[2].split()[0]) for one in (first, second)]
    assert sum(counts) == 151


def test_bridges_of_two_hosts_share_the_requests(broker: Nats, bridge: Start, store: Buckets) -> None:
    """Each request goes to one of them, and both have some."""
    both = bridge(broker), bridge(broker)
    for one in both:
        one.wait_for("STATUS=connected")

    async def test() -> None:
        async with api(broker, store) as client:
            await store_all(client.store, ids(200), RECORDINGS)
            await load(client, 200, 500, RECORDINGS)
            judgement = await client.settle(PATIENCE)
            assert judgement.is_perfect, judgement

    run(test)
    for one in both:
        one.end()
    counts = [int(one.line.partition("answered=")[2].split()[0]) for one in both]
    assert sum(counts) == 200
    assert min(counts) > 0
