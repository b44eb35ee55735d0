"""`./dev demo --spira`: the hospital system around the host: a broker, a store of recordings, its API, two models."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from tests.host.demo import SERVING_SECONDS, SETTINGS, Timeline, indent, installed_site, seed_example, show, stay
from tests.host.host import CHECKOUT_INSIDE
from tests.nats_server import Nats, nats_server
from tests.s3 import Buckets, buckets
from tests.spira.api import SpiraApi, spira_api
from tests.spira.client import SpiraClient, connect, load, metadata, store_all, storing
from tests.system.site import SCIENTIST, Site

NAMES = ("pauses", "pauses-strict")
EXAMPLE = f"{CHECKOUT_INSIDE}/examples/pauses"
MODEL = f"{EXAMPLE}/pauses.py:Pauses"
ENV_FILE = f"/home/{SCIENTIST}/.env"
COUNT, RATE = 500, 50.0
PATIENCE = 120.0


def spira_demo(*, keep: bool) -> None:
    """Run the demonstration."""
    timeline = Timeline()
    with tempfile.TemporaryDirectory(prefix="spira-") as temporary:
        directory = Path(temporary)
        with timeline.step("start a NATS broker with JetStream, an S3 server and the API's stand-in on this machine"):
            broker, store, api = nats_server(directory / "nats"), buckets(directory / "s3"), spira_api()
        with broker as running, store as recordings, api as hospital, installed_site(timeline, SETTINGS) as site:
            _demonstrate(site, timeline, running, recordings, hospital, keep=keep)


def _demonstrate(
    site: Site, timeline: Timeline, broker: Nats, store: Buckets, hospital: SpiraApi, *, keep: bool
) -> None:
    with timeline.step("the host: the broker and the store in its settings, the keys in /etc/credstore"):
        site.host.write("/etc/credstore/recordings.aws", store.credential, 0o600)
        lines = f'[deploy]\nbrokers = ["{broker.url}"]\n[nats]\ns3_endpoint_url = "{store.url}"\n'
        site.change_settings("nats.toml", lines)
        indent(lines)
    lines = "".join(f"{key}={value}\n" for key, value in hospital.environment().items())
    site.host.write(ENV_FILE, lines)
    site.host.run(["chown", f"{SCIENTIST}:", ENV_FILE])
    for name, more in zip(NAMES, ((), ("--artifact", f"thresholds={EXAMPLE}/strict.json")), strict=True):
        with timeline.step(f"{SCIENTIST} runs python3 pipeline.py for {name}; her .env names the API"):
            indent(site.pipeline("--name", name, "--model", MODEL, "--env-file", ENV_FILE, *more))
    indent(f"the API knows: {hospital.models}")
    for name in NAMES:
        with timeline.step(f"{name}: to Production, until it serves and its bridge is connected"):
            site.registry.promote(name, 1)
            site.wait_for(name, "serving", 1, deadline=SERVING_SECONDS)
            indent(_wait_until_connected(site, name))
    for name in NAMES:
        with timeline.step(f"one message at {name}-topic, with four recordings in the bucket"):
            _run(partial(_ask_once, broker, store, name))
    with timeline.step(f"{NAMES[0]} version 2 to Production while {COUNT} requests come at {RATE:.0f} per second"):
        indent(site.pipeline("--name", NAMES[0], "--model", MODEL, "--update"))
        _run(partial(_update_under_load, site, broker, store))
    show(site.host, ["reconciler", "status"])
    show(site.host, ["systemctl", "status", "--no-pager", "--lines=3", f"nats-bridge@{NAMES[0]}.service"])
    timeline.show()
    if keep:
        stay(site, NAMES[0])


def _run(what: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(what())  # type: ignore[arg-type]  # each is an async function


def _wait_until_connected(site: Site, name: str) -> str:
    """Wait for the bridge of a deployment; gives what it says."""

    def connected() -> str | None:
        line = str(site.statuses()[name]["nats"])
        return line if line.startswith("connected") else None

    return site.host.wait_for(connected, PATIENCE, "the bridge to be connected")


def _recordings() -> dict[str, bytes]:
    return {kind: content for kind, (_, content) in seed_example().parts.items()}


async def _client(broker: Nats, store: Buckets, name: str, right: dict[str, Any]) -> SpiraClient:
    """Connect as the API; every answer has to be the right one."""
    put = storing(store.url, store.access_key, store.secret_key)
    client = SpiraClient(await connect(broker.url), name, put, expected=lambda _asked, _recordings: right)
    await client.listen()
    return client


async def _ask_once(broker: Nats, store: Buckets, name: str) -> None:
    client = await _client(broker, store, name, {})
    await client.ask("638f56f70acda5864ee0203a", 23, _recordings())
    await client.settle(PATIENCE)
    indent(f"published: {metadata('638f56f70acda5864ee0203a')}")
    indent(f"result:    {client.answers['638f56f70acda5864ee0203a']}")
    await client.client.close()


async def _update_under_load(site: Site, broker: Nats, store: Buckets) -> None:
    client = await _client(broker, store, NAMES[0], {})
    recordings = _recordings()
    await store_all(client.store, [f"i{number:05d}" for number in range(COUNT)], recordings)
    loading = asyncio.create_task(load(client, COUNT, RATE, recordings))
    await asyncio.to_thread(site.registry.promote, NAMES[0], 2, archive=True)
    await asyncio.to_thread(site.wait_for, NAMES[0], "serving", 2, deadline=SERVING_SECONDS)
    await loading
    judgement = await client.settle(PATIENCE)
    await client.client.close()
    different = {str(answer) for answer in client.answers.values()}
    indent(
        f"{judgement.published} requests, {len(client.results)} results, lost {len(judgement.missing)}, "
        f"answered twice {len(judgement.twice)}, different answers {len(different)}"
    )
    if judgement.missing or judgement.twice or len(different) != 1:
        raise RuntimeError(f"the update lost or changed results: {judgement}")
