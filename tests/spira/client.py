"""A client that speaks only the protocol of the SPIRA API: recordings in a bucket, requests and results over core NATS.

It knows nothing of streams, bridges or hosts. It publishes at a rate, and judges whether there was exactly one right
result for each request.

    python -m tests.spira.client --nats-url URL --s3-url URL --keys KEY:SECRET --name NAME --count N --rate N
"""

import argparse
import asyncio
import json
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nats
import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

KINDS = ("aceite", "sustentada", "parlenda", "frase")
BUCKET = "audio-files"
RESULTS = "result_updates"
PATIENCE = 60.0
"""Seconds for one result on a busy machine."""
FLUSH = 5
"""Seconds for the broker to say that it has what was published."""

Expected = Callable[[Mapping[str, Any], Mapping[str, bytes]], object]
"""What the model answers to a request: metadata and recordings in, `{"output": …, "diagnosis": …}` out."""


def metadata(inference: str, age: int | None = 23) -> dict[str, Any]:
    """What the API publishes of one inference."""
    return {
        "id": inference,
        "model_id": "629f992d45cda830033cf4cd",
        "rgh": "12345678",
        "mask_type": "THICK",
        "gender": "Feminino",
        "covid_status": "TRUE",
        "local": "Outro",
        "age": age,
        "cid": "12345",
        "bpm": None,
        "respiratory_frequency": None,
        "respiratory_insufficiency_status": "true",
        "location": "location",
        "last_positive_diagnose_date": "2022-12-01",
        "hospitalized": "true",
        "hospitalization_start": "2022-12-02",
        "hospitalization_end": "2022-12-05",
        "spo2": "23",
        "status": "completed",
        "user_id": "638edab749a120cb7cdb295d",
        "created_in": "2022-12-06 14:51:35.771148",
    }


def echo(asked: Mapping[str, Any], recordings: Mapping[str, bytes]) -> object:
    """What tests/modelserver/echo_model.py answers: numbers that depend on every byte of this very request."""
    output = [float(asked.get("age") or 0)]
    for kind in sorted(recordings):
        content = recordings[kind]
        output += [len(content), zlib.crc32(content), zlib.crc32(f"{kind}.wav".encode()), 1]
    return {"output": output, "diagnosis": "negative"}


@dataclass
class Judgement:
    """What came of all requests."""

    published: int = 0
    right: int = 0
    wrong: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def is_perfect(self) -> bool:
        """Whether each request has exactly one right result."""
        return self.right == self.published and not (self.wrong or self.twice or self.missing)


@dataclass
class SpiraClient:
    """One API, connected to one broker. `store` puts a recording into the bucket, by its key."""

    client: Client
    name: str
    store: Callable[[str, bytes], None]
    expected: Expected = echo
    results: Counter[str] = field(default_factory=Counter)
    asked: dict[str, object] = field(default_factory=dict)
    """The right answer, by id."""
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    unconfirmed: dict[str, bytes] = field(default_factory=dict)
    """What the broker has not said it has."""
    _payloads: dict[str, bytes] = field(default_factory=dict)
    _reconnects: int = 0
    _listening: Subscription | None = None
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self) -> None:
        """Begin to take results."""
        self._listening = await self.client.subscribe(RESULTS, cb=self._on_result)
        await self.client.flush(FLUSH)

    async def stop_listening(self) -> None:
        """Take no results, as an API that is being replaced."""
        if self._listening is not None:
            await self._listening.unsubscribe()
            await self.client.flush(FLUSH)

    async def a_result(self) -> None:
        """Wait for the next result."""
        self._changed.clear()
        await asyncio.wait_for(self._changed.wait(), PATIENCE)

    async def _on_result(self, message: Msg) -> None:
        result = json.loads(message.data)
        inference = result.pop("inference_id")
        self.results[inference] += 1
        self.answers[inference] = result
        self._changed.set()

    async def ask(self, inference: str, age: int | None, recordings: Mapping[str, bytes]) -> None:
        """Store the recordings of one inference and publish its request."""
        for kind, content in recordings.items():
            await asyncio.to_thread(self.store, f"{inference}/{kind}.wav", content)
        await self.publish(inference, age, recordings)

    async def publish(self, inference: str, age: int | None, recordings: Mapping[str, bytes]) -> None:
        """Publish the request of an inference whose recordings are stored."""
        asked = metadata(inference, age)
        self.asked[inference] = self.expected(asked, recordings)
        self._payloads[inference] = self.unconfirmed[inference] = json.dumps(asked).encode()
        await self.publish_unconfirmed()

    async def publish_unconfirmed(self) -> None:
        """Publish what the broker may not have; what it does not confirm now stays to be published again.

        After a lost connection that is everything without a result: nats-py writes what it is given into a connection
        that ends, and its flush may return without a word of the broker then.
        """
        reconnects = self.client.stats["reconnects"]
        if reconnects != self._reconnects:
            self._reconnects = reconnects
            self.unconfirmed |= {one: self._payloads[one] for one in self.asked.keys() - self.results.keys()}
        batch = dict(self.unconfirmed)
        try:
            for payload in batch.values():
                await self.client.publish(f"{self.name}-topic", payload)
            await self.client.flush(FLUSH)
        except (TimeoutError, nats.errors.Error, OSError):
            return
        for inference in batch:
            self.unconfirmed.pop(inference, None)

    async def settle(self, seconds: float) -> Judgement:
        """Wait until each request has a result, at most `seconds`, and judge."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends and (self.unconfirmed or self.asked.keys() - self.results.keys()):
            await self.publish_unconfirmed()
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), 0.5)
            except TimeoutError:
                continue
        return self.judge()

    def judge(self) -> Judgement:
        """Judge what came until now."""
        judgement = Judgement(published=len(self.asked))
        for inference, right in self.asked.items():
            if inference not in self.results:
                judgement.missing.append(inference)
            elif self.answers[inference] == right:
                judgement.right += 1
            else:
                judgement.wrong.append(inference)
        judgement.twice += [inference for inference, count in self.results.items() if count > 1]
        return judgement


async def connect(url: str, **options: Any) -> Client:
    """Connect as the API does: by nats-py, which reconnects by itself."""
    return await nats.connect(url, max_reconnect_attempts=-1, error_cb=_heard, **options)


async def _heard(_error: Exception) -> None:
    """Of lost connections the test decides by results."""


async def store_all(
    put: Callable[[str, bytes], None], inferences: Iterable[str], recordings: Mapping[str, bytes]
) -> None:
    """Store the same recordings for many inferences, several inferences at a time.

    Those of one inference one after the other, as the API does: of objects that come at the same moment into one
    folder, rclone's store may answer a later GET with InternalError for ever.
    """

    def store(inference: str) -> None:
        for kind, content in recordings.items():
            put(f"{inference}/{kind}.wav", content)

    with ThreadPoolExecutor(8) as threads:
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(threads, store, inference) for inference in inferences))


async def load(
    client: SpiraClient, count: int, rate: float, recordings: Mapping[str, bytes], begin: int = 0, prefix: str = "i"
) -> None:
    """Publish `count` requests at `rate` per second. The recordings are stored before, each under its own id."""
    started = time.monotonic()
    for number in range(begin, begin + count):
        due = started + (number - begin) / rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        await client.publish(f"{prefix}{number:05d}", number % 120, recordings)


def main() -> None:
    """Run a load and print the judgement as JSON; exits with 1 when it is not perfect."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--nats-url", required=True)
    parser.add_argument("--s3-url", required=True)
    parser.add_argument("--keys", required=True, help="KEY:SECRET")
    parser.add_argument("--name", required=True)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--patience", type=float, default=120)
    parser.add_argument("--recording", type=Path, help="a WAV file; else a few bytes")
    options = parser.parse_args()
    judgement = asyncio.run(_run(options))
    print(json.dumps({**vars(judgement), "perfect": judgement.is_perfect}), flush=True)  # noqa: T201 - what it is for
    raise SystemExit(not judgement.is_perfect)


async def _run(options: argparse.Namespace) -> Judgement:
    recordings = {kind: (kind * 100).encode() for kind in KINDS}
    if options.recording:
        recordings = dict.fromkeys(KINDS, options.recording.read_bytes())
    put = storing(options.s3_url, *options.keys.split(":", 1))
    client = SpiraClient(await connect(options.nats_url), options.name, put)
    await client.listen()
    await store_all(put, (f"i{number:05d}" for number in range(options.count)), recordings)
    print("stored", flush=True)  # noqa: T201 - whoever waits for it reads it
    await load(client, options.count, options.rate, recordings)
    judgement = await client.settle(options.patience)
    await client.client.close()
    return judgement


def storing(url: str, key: str, secret: str) -> Callable[[str, bytes], None]:
    """Return what puts recordings into the bucket of a real S3 server, which is made if need be."""
    import boto3
    from botocore.config import Config

    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(request_checksum_calculation="when_required", retries={"total_max_attempts": 10}),
    )
    with suppress(client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou):
        client.create_bucket(Bucket=BUCKET)

    def put(path: str, content: bytes) -> None:
        client.put_object(Bucket=BUCKET, Key=path, Body=content)

    return put


if __name__ == "__main__":
    main()
