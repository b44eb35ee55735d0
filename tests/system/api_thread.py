"""The hospital's API beside a booted host: it publishes at a rate while the test does something else."""

import asyncio
import threading
from concurrent.futures import Future

from tests.nats_server import Nats
from tests.s3 import Buckets
from tests.spira.client import KINDS, Judgement, SpiraClient, connect, load, store_all, storing

NAME = "spira"
RECORDINGS = {kind: (kind * 500).encode() for kind in KINDS}
RATE = 50.0
# What tests/spira/client.py expects of the model that it calls echo.
ECHO = (
    "m, f = model_input; crc = __import__('zlib').crc32; "
    "return [float(m.get('age') or 0), *(number for kind in sorted(f) for number in "
    "(len(f[kind]['content']), crc(f[kind]['content']), crc(f[kind]['filename'].encode()), 1))], 'negative'"
)


class Api(threading.Thread):
    """The hospital's API in a thread of its own; it publishes until it is told to stop."""

    def __init__(self, broker: Nats, store: Buckets, name: str = NAME) -> None:
        super().__init__(daemon=True)
        self._broker, self._store, self._name = broker, store, name
        self._loop = asyncio.new_event_loop()
        self._client: Future[SpiraClient] = Future()
        self.start()
        self.client = self._client.result(60)

    def run(self) -> None:
        """Serve the calls below."""
        self._loop.create_task(self._begin())
        self._loop.run_forever()

    async def _begin(self) -> None:
        put = storing(self._store.url, self._store.access_key, self._store.secret_key)
        client = SpiraClient(await connect(self._broker.url), self._name, put)
        await client.listen()
        self._client.set_result(client)

    def store(self, inferences: list[str]) -> None:
        """Store the recordings of many inferences."""
        asyncio.run_coroutine_threadsafe(store_all(self.client.store, inferences, RECORDINGS), self._loop).result(300)

    def load(self, begin: int, count: int, prefix: str = "i", rate: float = RATE) -> "Future[None]":
        """Begin to publish so many requests, at `rate` per second."""
        publishing = load(self.client, count, rate, RECORDINGS, begin, prefix)
        return asyncio.run_coroutine_threadsafe(publishing, self._loop)

    def load_one(self, inference: str) -> None:
        """Publish one request."""
        publishing = self.client.publish(inference, 23, RECORDINGS)
        asyncio.run_coroutine_threadsafe(publishing, self._loop).result(60)

    def wait_for_results(self, count: int) -> None:
        """Wait until so many requests have results."""

        async def wait() -> None:
            while len(self.client.results) < count:
                await self.client.a_result()

        asyncio.run_coroutine_threadsafe(wait(), self._loop).result(120)

    def settle(self, seconds: float = 120) -> Judgement:
        """Wait for the results, and judge."""
        return asyncio.run_coroutine_threadsafe(self.client.settle(seconds), self._loop).result(seconds + 60)

    def close(self) -> None:
        """End."""
        asyncio.run_coroutine_threadsafe(self.client.client.close(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self.join(60)
