"""Broker, store, server and bridge come and go while requests are under way: none is lost, and none answered twice."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.bridge.conftest import Start
from tests.bridge.process import NAME
from tests.bridge.test_answers import PATIENCE, RECORDINGS, Failures, api, ids, run
from tests.modelserver.process import ROOT
from tests.nats_server import Nats, nats_server
from tests.s3 import Buckets, buckets
from tests.spira.client import load, store_all
from tests.tls import Authority

COUNT, RATE = 400, 50.0


@pytest.mark.parametrize(
    "fault",
    [
        "both at once",
        *(pytest.param(one, marks=pytest.mark.by_hand) for one in ("broker restarted", "bridge killed")),
    ],
)
def test_jetstream_answers_each_request_once_whatever_ends(
    jetstream: Nats, bridge: Start, store: Buckets, fault: str
) -> None:
    """The client knows nothing of it: it speaks the API's protocol and reconnects as nats-py does."""
    first = bridge(jetstream)
    first.wait_for("STATUS=connected")

    async def disturb() -> None:
        if "bridge" in fault or "both" in fault:
            first.kill()
        if "broker" in fault or "both" in fault:
            await asyncio.to_thread(jetstream.restart)
        if "bridge" in fault or "both" in fault:
            bridge(jetstream)

    async def test() -> None:
        async with api(jetstream, store) as client:
            await store_all(client.store, ids(COUNT), RECORDINGS)
            loading = asyncio.create_task(load(client, COUNT, RATE, RECORDINGS))
            while len(client.results) < COUNT // 4:
                await client.a_result()
            await disturb()
            await loading
            judgement = await client.settle(PATIENCE)
            assert judgement.is_perfect, judgement

    run(test)


def test_while_the_store_is_away_requests_wait(broker: Nats, bridge: Start, tmp_path: Path) -> None:
    """And the status says what is missing, until it is back."""
    with buckets(tmp_path / "s3") as there:
        address = there.url.removeprefix("http://")
    running = bridge(broker, store=there)
    running.wait_for("STATUS=connected")

    async def test() -> None:
        with buckets(tmp_path / "s3", address=address) as again:
            async with api(broker, again) as client:
                await store_all(client.store, ids(20), RECORDINGS)
        async with api(broker, there, store_is_there=False) as client:
            await load(client, 20, 100, RECORDINGS)
            await asyncio.to_thread(running.wait_for, "STATUS=degraded: cannot read i000")
            with buckets(tmp_path / "s3", address=address):
                judgement = await client.settle(PATIENCE)
                assert judgement.is_perfect, judgement
            await client.publish("later", 1, {})

    run(test)


def test_while_the_server_is_away_requests_wait(
    broker: Nats, bridge: Start, store: Buckets, server: str, tmp_path: Path
) -> None:
    """As between the end of an idle server and its next start, or while a model loads."""
    path = tmp_path / "s"
    running = bridge(broker, server=str(path))
    running.wait_for("STATUS=connected")

    async def test() -> None:
        async with api(broker, store) as client:
            await store_all(client.store, ids(10), RECORDINGS)
            await load(client, 10, 100, RECORDINGS)
            await asyncio.to_thread(running.wait_for, "STATUS=degraded: cannot ask the model's server")
            path.symlink_to(server)
            judgement = await client.settle(PATIENCE)
            assert judgement.is_perfect, judgement

    run(test)


def test_it_starts_without_a_broker_and_finds_it_later(bridge: Start, tmp_path: Path) -> None:
    """It is ready for systemd at once, and says what it waits for."""
    waiting = Nats(tmp_path, jetstream=True)
    running = bridge(waiting)
    running.wait_for("READY=1")
    running.wait_for(f"STATUS=connecting: cannot reach the broker at {waiting.url}")
    with nats_server(tmp_path / "late") as late:
        late.end()
        late.port = waiting.port
        late.start()
        running.wait_for("STATUS=connected")
        late.end()
        running.wait_for("cannot reach the broker", after=len(running.told))


def test_core_nats_loses_nothing_that_it_received_when_it_is_told_to_end(
    core: Nats, bridge: Start, store: Buckets
) -> None:
    """It takes no more, answers what it has, and then ends; another one answers the rest."""
    first = bridge(core, "--concurrency", "1")
    first.wait_for("STATUS=connected")

    async def test() -> None:
        async with api(core, store) as client:
            await store_all(client.store, ids(60), RECORDINGS)
            await load(client, 30, 1000, RECORDINGS)
            second = bridge(core)
            await asyncio.to_thread(second.wait_for, "STATUS=connected")
            first.process.send_signal(signal.SIGTERM)
            await load(client, 30, 1000, RECORDINGS, begin=30)
            judgement = await client.settle(PATIENCE)
            assert judgement.is_perfect, judgement
            assert first.ended() == 0

    run(test)
    assert "waiting=0" in first.line


def test_core_nats_says_of_what_it_cannot_finish_that_it_is_not_answered(
    core: Nats, bridge: Start, store: Buckets, tmp_path: Path
) -> None:
    """Whoever published it can publish it again."""
    running = bridge(core, "--drain-limit", "0.2", server=str(tmp_path / "nobody"))
    running.wait_for("STATUS=connected")

    async def test() -> None:
        async with api(core, store) as client:
            failures = Failures()
            await failures.listen(client)
            await client.ask("unfinished", 1, RECORDINGS)
            await asyncio.to_thread(running.wait_for, "waiting=1")
            running.process.send_signal(signal.SIGTERM)
            told = await failures.next()
            assert (told["outcome"], told["inference_id"]) == ("bridge-ended", "unfinished")

    run(test)
    assert running.ended() == 0


def test_core_nats_keeps_a_result_until_somebody_listens(core: Nats, bridge: Start, store: Buckets) -> None:
    """The broker says when nobody does."""
    running = bridge(core)
    running.wait_for("STATUS=connected")

    async def test() -> None:
        async with api(core, store) as client:
            await client.ask("early", 1, RECORDINGS)
            assert (await client.settle(PATIENCE)).is_perfect
            await client.stop_listening()
            await client.ask("unheard", 2, RECORDINGS)
            await asyncio.to_thread(running.wait_for, "nobody is subscribed to result_updates")
            await client.listen()
            judgement = await client.settle(PATIENCE)
            assert judgement.is_perfect, judgement

    run(test)


@pytest.mark.parametrize("login", ["password", "token", "nkey", "TLS"])
def test_it_logs_in_with_what_the_credentials_say(bridge: Start, tmp_path: Path, login: str) -> None:
    """And says what to mend where they are wrong."""
    authority = Authority(tmp_path / "authority")
    pair = authority.issue("broker")
    seed, public = "SUAJ3ZTAJVTYZW5F6EMKOLHJWTJCNBYWSKVZHNW3CKZ2X2OYQKBJOOA4JQ", ""
    if login == "nkey":
        import nkeys

        public = nkeys.from_seed(seed.encode()).public_key.decode()
    configurations = {
        "password": "authorization { user: ward, password: hush }",
        "token": "authorization { token: hush }",
        "nkey": f"authorization {{ users: [ {{ nkey: {public} }} ] }}",
        "TLS": f'tls {{ cert_file: "{pair}", key_file: "{pair}", ca_file: "{authority.pem}", verify: true }}',
    }
    credentials = {
        "password": {"nats.username": "ward", "nats.password": "hush\n"},
        "token": {"nats.token": "hush"},
        "nkey": {"nats.nkey": seed},
        "TLS": {"nats.ca": authority.pem.read_text(), "nats.client-certificate": authority.issue("host").read_text()},
    }
    with nats_server(tmp_path / "nats", configuration=configurations[login]) as broker:
        url = broker.url.replace("nats://", "tls://") if login == "TLS" else broker.url
        running = bridge(url, credentials=credentials[login])
        running.wait_for("STATUS=connected")
        running.end()
        without = bridge(url)
        said = without.wait_for("STATUS=connecting: cannot reach the broker")
        assert "nats." in said, said
        assert "hush" not in without.printed() + running.printed()


def test_a_consumer_that_somebody_removes_is_made_again(jetstream: Nats, bridge: Start, store: Buckets) -> None:
    """And with it goes on what was published meanwhile."""
    running = bridge(jetstream)
    running.wait_for("STATUS=connected")

    async def test() -> None:
        async with api(jetstream, store) as client:
            await client.client.jetstream().delete_consumer("echo-requests", NAME)
            await client.ask("afterwards", 1, RECORDINGS)
            judgement = await client.settle(PATIENCE)
            assert judgement.is_perfect, judgement

    run(test)


def test_results_that_were_handed_over_are_never_handed_over_again(
    jetstream: Nats, bridge: Start, store: Buckets
) -> None:
    """Whatever happens to the consumer: somebody removes it, or results go to another subject."""
    first = bridge(jetstream)
    first.wait_for("STATUS=connected")

    async def test() -> None:
        async with api(jetstream, store) as client:
            await store_all(client.store, ids(6), RECORDINGS)
            await load(client, 3, 100, RECORDINGS)
            assert (await client.settle(PATIENCE)).is_perfect
            manager = client.client.jetstream()
            await manager.delete_consumer("echo-results", "echo-results")
            first.end()
            second = bridge(jetstream, "--keep-results", "77")
            await asyncio.to_thread(second.wait_for, "STATUS=connected")
            await load(client, 2, 100, RECORDINGS, begin=3)
            judgement = await client.settle(PATIENCE)
            assert judgement.is_perfect, judgement
            assert (await manager.stream_info("echo-results")).config.max_age == 77
            assert (await manager.stream_info("echo-failed")).config.max_age == 77
            second.end()
            elsewhere: list[bytes] = []

            async def keep(message: Any) -> None:
                elsewhere.append(message.data)

            await client.client.subscribe("elsewhere", cb=keep)
            third = bridge(jetstream, "--result-subject", "elsewhere")
            await asyncio.to_thread(third.wait_for, "STATUS=connected")
            await load(client, 1, 100, RECORDINGS, begin=5)
            await asyncio.to_thread(third.wait_for, "answered=1")
            await client.client.flush(5)
            assert [json.loads(one)["inference_id"] for one in elsewhere] == ["i00005"]
            assert max(client.results.values()) == 1

    run(test)


@pytest.mark.parametrize(
    ("denied", "told"),
    [("$JS.API.STREAM.CREATE.>", "STATUS=connecting: "), ("echo-topic.results", "STATUS=degraded: the broker at ")],
)
def test_what_the_broker_does_not_permit_is_told(
    bridge: Start, store: Buckets, tmp_path: Path, denied: str, told: str
) -> None:
    """It answers no such call; the request waits until somebody permits it."""
    permissions = f'permissions: {{ publish: {{ deny: ["{denied}"] }} }}'
    configuration = f"authorization {{ users: [ {{ user: ward, password: hush, {permissions} }}, {{ user: api }} ] }}"
    configuration = configuration.replace("user: api }", "user: api, password: api }")
    with nats_server(tmp_path / "nats", configuration=configuration) as broker:
        running = bridge(broker, credentials={"nats.username": "ward", "nats.password": "hush"})
        if "degraded" in told:
            running.wait_for("STATUS=connected")

            async def ask() -> None:
                url = broker.url.replace("nats://", "nats://api:api@")
                async with api(Nats(tmp_path, jetstream=True, port=broker.port), store, url=url) as client:
                    await client.ask("forbidden", 1, RECORDINGS)
                    said = await asyncio.to_thread(running.wait_for, told)
                    assert "permit it to the login of the host" in said

            run(ask)
        else:
            assert "permit it to the login of the host" in running.wait_for(told + "cannot reach the broker")


def test_no_login_is_sent_where_tls_was_meant_and_there_is_none(bridge: Start, tmp_path: Path) -> None:
    """Somebody between the two could answer in the broker's place, and leave TLS out."""
    with nats_server(tmp_path / "nats", configuration="authorization { token: hush }\ntrace: true") as broker:
        running = bridge(broker.url.replace("nats://", "tls://"), credentials={"nats.token": "hush"})
        running.wait_for("it offers no TLS")
        assert "CONNECT" not in (tmp_path / "nats" / "nats.log").read_text()


@pytest.mark.parametrize(
    ("url", "credentials", "why"),
    [
        ("nats://broker.example.org:4222", {"nats.token": "x"}, "would cross the network in plain text"),
        ("nats://127.0.0.1:4222", {"nats.token": "x", "nats.nkey": "y"}, "more than one login is given"),
        ("nats://127.0.0.1:4222", {"nats.password": "x"}, "the credential 'nats.username' is missing"),
        ("nats://127.0.0.1:4222", {"nats.nkey": "UABC"}, "is not the seed of a user's nkey"),
        ("nats://127.0.0.1:4222", {"nats.nkey": f"SU{'A' * 55}"}, "is not the seed of a user's nkey"),
        ("nats://127.0.0.1:4222", {"nats.creds": "x"}, "is not a file of credentials"),
        ("nats://127.0.0.1:4222", {"nats.ca": "x"}, "is not a certificate in PEM form"),
        ("nats://127.0.0.1:4222", {"recordings.aws": "x"}, "is not an AWS credentials file"),
    ],
)
def test_credentials_that_cannot_be_used_end_it_with_a_sentence(
    bridge: Start, url: str, credentials: dict[str, str], why: str
) -> None:
    """systemd does not start it again: nothing would change."""
    running = bridge(url, credentials=credentials)
    assert running.ended() == 78
    assert why in running.line
    assert running.line.startswith("cannot use the credentials of the bridge: ")


@contextmanager
def original(broker: Nats, store: Buckets) -> Iterator["subprocess.Popen[str]"]:
    """The server that ran before there was this product; killed at the end, with whatever it had in its queue."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "receiving_channel": f"{NAME}-topic",
        "central_channel": "result_updates",
        "nats_conn_url": broker.url,
        "minio_conn_url": store.url.removeprefix("http://"),
        "minio_access_key": store.access_key,
        "minio_secret_key": store.secret_key,
        "bucket_name": "audio-files",
        "default_extension": ".wav",
    }
    command = [sys.executable, "-m", "tests.spira.original_server", str(ROOT / "tests/spira/echo.py")]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "listening\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_it_takes_over_from_the_original_server_and_gives_back(broker: Nats, bridge: Start, store: Buckets) -> None:
    """Both get each request. Whatever the older one answers is left to it; what it had when it died is answered."""
    running = bridge(broker, "--beside", "--patience", "5")
    running.wait_for("STATUS=beside")

    async def test() -> None:
        async with api(broker, store) as client:
            await store_all(client.store, ids(300), RECORDINGS)
            with original(broker, store):
                await load(client, 100, 100, RECORDINGS)
                assert (await client.settle(PATIENCE)).is_perfect
                await asyncio.to_thread(running.wait_for, "an older server, which answered 100 requests")
                # It dies with some of these in its queue.
                await load(client, 100, 1000, RECORDINGS, begin=100)
            running.process.send_signal(signal.SIGUSR2)
            await asyncio.to_thread(running.wait_for, "STATUS=connected")
            judgement = await client.settle(PATIENCE)
            assert judgement.is_perfect, judgement
            running.process.send_signal(signal.SIGUSR1)
            await asyncio.to_thread(running.wait_for, "STATUS=beside", len(running.told))
            loading = asyncio.create_task(load(client, 100, 50, RECORDINGS, begin=200))
            with original(broker, store):
                await loading
                running.process.send_signal(signal.SIGTERM)
                judgement = await client.settle(PATIENCE)
                assert judgement.is_perfect, judgement
                assert await asyncio.to_thread(running.ended) == 0

    run(test)
