"""Answers one deployment's requests over NATS until it is told to end.

SIGUSR1: leave requests to an older server from now on. SIGUSR2: answer all of them. SIGTERM: take no more requests,
answer those that are there, and end. Exit codes: 0 ended as told, 2 the command line is wrong, 78 the credentials or
the settings are wrong.
"""

import asyncio
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

import structlog

from reconciler.adapters.credentials import CredentialError
from reconciler.adapters.journal import configure, notify
from reconciler.adapters.nats_broker import NatsBroker
from reconciler.adapters.nats_link import Link
from reconciler.adapters.nats_login import login
from reconciler.adapters.nats_streams import Subjects
from reconciler.adapters.recordings import Recordings
from reconciler.bridge.answering import Answering
from reconciler.bridge.beside import Beside
from reconciler.bridge.desk import Desk
from reconciler.bridge.health import Health
from reconciler.bridge.options import Options, parse
from reconciler.bridge.server_client import ServerClient
from reconciler.core.units import paths
from reconciler.ports.artifacts import StoreError

EX_CONFIG = 78
_MOST_THREADS = 32

log = structlog.get_logger()


def main() -> None:
    """Run one bridge."""
    options = parse()
    configure("nats-bridge")
    try:
        credentials = login(options.servers, plain_text=options.plain_text)
        recordings = Recordings(options.bucket, options.store) if options.kinds.all else None
    except (CredentialError, StoreError) as error:
        sentence = str(error)
        if isinstance(error, CredentialError):
            sentence = f"cannot use the credentials of the bridge: {error}; see {paths.PRODUCT}/docs/credentials.md"
        log.error(sentence, MODEL=options.name)  # noqa: TRY400 - the sentence says all; a traceback would say less
        notify(STATUS=sentence)
        sys.exit(EX_CONFIG)
    asyncio.run(_run(options, credentials, recordings))


async def _run(options: Options, credentials: dict[str, object], recordings: Recordings | None) -> None:
    health = Health()
    server = ServerClient(str(options.socket))
    # Each of the requests at work fetches all of its recordings at once.
    threads = ThreadPoolExecutor(min(options.concurrency * max(1, len(options.kinds.all)), _MOST_THREADS))
    answering = Answering(options.name, recordings, server, health, options.limits, options.kinds, threads)
    desk = Desk(options.name, answering, Beside(options.patience, is_on=options.beside), health, options.concurrency)
    health.went_beside(options.beside)
    desk.broker = broker = NatsBroker(
        Subjects(options.name, options.result_subject),
        desk,
        lambda begin: Link(
            options.servers,
            credentials,
            options.jetstream,
            prepare=begin,
            tell=lambda place, why: _tell(health, place, why),
            tell_trouble=lambda why: health.trouble("broker", why),
        ),
        options.keep_results,
        watch=options.beside,
    )
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    switch = Switch(desk, broker)
    loop.add_signal_handler(signal.SIGUSR1, switch.to, True)
    loop.add_signal_handler(signal.SIGUSR2, switch.to, False)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    connection = asyncio.create_task(broker.run())
    telling = asyncio.create_task(health.run())
    # Without a broker it is ready as well: it says so, and waits for it.
    notify(READY="1")
    log.info(f"answers requests for {options.name} at {', '.join(options.servers)}", MODEL=options.name)
    try:
        await asyncio.wait(
            {connection, telling, asyncio.create_task(ended.wait())}, return_when=asyncio.FIRST_COMPLETED
        )
        notify(STOPPING="1")
        await broker.stop_taking()
        await desk.finish(options.drain_limit)
    finally:
        for task in (connection, telling):
            task.cancel()
        # A fault of either ends the bridge, loudly; systemd starts it again.
        for done in await asyncio.gather(connection, telling, return_exceptions=True):
            if isinstance(done, Exception):
                raise done
        await server.close()
        threads.shutdown(wait=False, cancel_futures=True)
        notify(STATUS=f"ended; {health.line.partition('; ')[2]}")


class Switch:
    """Follows the signals that say whether requests are left to an older server, one after the other."""

    def __init__(self, desk: Desk, broker: NatsBroker) -> None:
        """Switch both."""
        self._desk = desk
        self._broker = broker
        self._last: asyncio.Task[None] | None = None

    def to(self, beside: bool) -> None:
        """Switch, after what was asked before."""
        before = self._last
        self._last = asyncio.create_task(self._switch(beside, before))

    async def _switch(self, beside: bool, before: "asyncio.Task[None] | None") -> None:
        if before is not None:
            await asyncio.wait({before})
        if beside:
            await self._broker.watch_results(True)
        self._desk.switch_beside(beside)
        if not beside:
            await self._broker.watch_results(False)


def _tell(health: Health, place: str, why: str) -> None:
    """Tell of the connection in the status, and once in the journal."""
    if (place, why) != (health.place, health.why_no_broker):
        (log.warning if why else log.info)(why or f"connected to {place}")
    health.broker(place, why)
