"""Serves one release in containers: brings them up, waits until they answer, serves, and takes them down."""

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from containerserver import project_file
from containerserver.compose_command import Compose
from containerserver.container_watch import ContainerWatch
from containerserver.door import Door, NoDoorError, Root
from containerserver.engine import Container, Engine, EngineError
from containerserver.forward import Forward, NoHttp
from containerserver.metrics_first import ROUTES, MetricsFirst
from containerserver.names import Project
from containerserver.options import Options
from containerserver.secrets import secrets
from modelserver.errors import CannotServeError
from modelserver.http import sockets, uvicorn_check
from modelserver.http.connection import ConnectionSettings
from modelserver.http.connection_limit import ConnectionLimit
from modelserver.http.listener import raise_descriptor_limit
from modelserver.http.measured import Measured
from modelserver.http.metrics import Identity, Metrics
from modelserver.http.release_header import ReleaseHeaderMiddleware
from modelserver.server import Server, ServerParts
from modelserver.systemd.counters import Counters
from modelserver.systemd.idle import IdleTimer
from modelserver.systemd.notify import Notifier
from modelserver.systemd.standby import Standby
from modelserver.systemd.status_line import StatusLine
from modelserver.systemd.watchdog import Watchdog
from reconciler.adapters.credentials import CredentialError

_ASK_EVERY = 0.1
"""Seconds between two questions whether a container answers yet."""
_log = logging.getLogger("modelserver")


@dataclass(frozen=True)
class Surroundings:
    """What the process was started with."""

    standby: Standby
    notifier: Notifier
    watchdog: Watchdog


def serve(options: Options, around: Surroundings) -> None:
    """Serve until told to stop. Raises CannotServeError, EngineError and EndedError."""
    uvicorn_check.check_internals()
    listening = sockets.inherited()
    if len(listening) < options.served.sockets:
        raise CannotServeError(
            f"cannot listen: {len(listening)} of {options.served.sockets} sockets were passed; restart its .socket unit"
        )
    began = time.monotonic()
    try:
        variables = secrets(options.broker, asks_itself=options.asks_itself)
    except CredentialError as error:
        raise CannotServeError(f"cannot use the credentials of the runtime compose: {error}") from None
    engine = Engine(options.engine)
    compose = Compose(options.engine)
    image = engine.image(options.image)
    file = project_file.write(options, project_file.render(options, image, variables))
    # What an earlier server left that was killed.
    take_down(engine, options.project, file, seconds=1, compose=compose)
    around.notifier.status(f"loading {options.release}")
    # Until the server has its own handler: so that the end of this process is the end of its containers.
    signal.signal(signal.SIGTERM, _stop)
    try:
        _bring_up(engine, compose, options, file, variables)
        container = engine.container(options.project)
        asyncio.run(_run(options, around, container, listening, began))
    except _StoppedError:
        _log.info("stopped before it was ready")
    finally:
        try:
            take_down(engine, options.project, file, seconds=max(1, options.served.drain_limit), compose=compose)
        except EngineError as error:  # the unit takes down what is left once more, after this process
            _log.warning("%s", error)


class _StoppedError(BaseException):
    """systemd stops the unit before the server is ready."""


def _stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as Python calls a handler
    raise _StoppedError


def _bring_up(engine: Engine, compose: Compose, options: Options, file: Path, variables: Mapping[str, str]) -> None:
    try:
        compose.up(options.project, file, variables)
    except EngineError:
        engine.ping()  # says so, where it is the engine that has gone
        raise


def take_down(engine: Engine, project: Project, file: Path, seconds: int, compose: Compose | None = None) -> None:
    """Stop and remove what compose made for a server, where there is anything.

    `seconds`: until containers are killed. `compose` is looked for where it is not given. Raises EngineError.
    """
    if not engine.has_any_of(project):
        return
    try:
        if file.exists():
            (compose or Compose(engine.path)).down(project, file, seconds)
    except EngineError as error:
        _log.warning("%s", error)
    # What compose could not, or did not know of.
    engine.remove_all_of(project)


async def _run(
    options: Options, around: Surroundings, container: Container, listening: list[socket.socket], began: float
) -> None:
    watch = ContainerWatch(container, options.release, is_own=options.own is not None)
    ended = asyncio.create_task(watch.ended())
    counters, served = Counters(), options.served
    about = {"runtime": "compose"}
    identity = Identity(options.project.name, options.project.release, options.version, about)
    metrics = Metrics(identity, counters, ROUTES)
    forward = None
    if options.http_socket:
        root = await _root_of(container, ended)
        forward = Forward(lambda: Door(root, options.http_socket), counters, served.max_body, served.request_timeout)
    await _first(ended, _until_ready(watch, forward))
    proof = f"its container was ready after {time.monotonic() - began:.1f} s"
    server = Server(
        ServerParts(
            application=ReleaseHeaderMiddleware(
                Measured(MetricsFirst(forward or NoHttp(), metrics), metrics), options.release
            ),
            sockets=listening,
            peers=served.peers,
            connections=ConnectionSettings(
                release=options.release,
                header_timeout=served.header_timeout,
                send_timeout=served.request_timeout,
                # Each takes another one, to the container.
                limit=ConnectionLimit(raise_descriptor_limit(2 * served.max_connections) // 2),
                on_refused=metrics.refused,
            ),
            standby=around.standby,
            status_line=StatusLine(around.notifier, counters, options.release, proof, served.soak),
            watchdog=around.watchdog,
            idle_timer=IdleTimer(served.idle_timeout, served.soak),
            drain_grace=served.drain_grace,
            drain_limit=served.drain_limit,
        )
    )
    serving = asyncio.create_task(server.serve())
    await asyncio.wait({serving, ended}, return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    await serving
    if forward is not None:
        await forward.close()
    if ended.done():
        await ended  # raises
    ended.cancel()


async def _root_of(container: Container, ended: "asyncio.Task[None]") -> Root:
    """Open the container's root. Raises what `ended` raises where it is gone already."""
    try:
        return Root((await asyncio.to_thread(container.state)).pid)
    except NoDoorError:
        await ended
        raise


async def _first(ended: "asyncio.Task[None]", ready: Awaitable[None]) -> None:
    """Wait until something is ready. Raises what `ended` raises when that comes first."""
    waiting = asyncio.ensure_future(ready)
    await asyncio.wait({waiting, ended}, return_when=asyncio.FIRST_COMPLETED)
    if ended.done():
        waiting.cancel()
        await ended
    await waiting


async def _until_ready(watch: ContainerWatch, forward: Forward | None) -> None:
    while True:
        is_ready = await (forward.ping() if forward else watch.is_healthy())
        if is_ready:
            return
        await asyncio.sleep(_ASK_EVERY)
