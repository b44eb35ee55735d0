"""Serves with uvicorn; stops or stands by so that no request is lost while another release takes the same socket."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from types import FrameType

import uvicorn

from modelserver.http.connection import Connection, ConnectionSettings
from modelserver.http.listener import ACCEPTED_AT_ONCE, Listener
from modelserver.http.peers import Network
from modelserver.http.release_header import ReleaseHeaderMiddleware
from modelserver.systemd.idle import IdleTimer
from modelserver.systemd.standby import Standby
from modelserver.systemd.status_line import StatusLine
from modelserver.systemd.watchdog import Watchdog

# Long enough for a connection that the last accept() took to become a protocol, and its first request to arrive.
_SETTLE_SECONDS = 0.25


@dataclass(frozen=True)
class ServerParts:
    """What a server is made of. Times are in seconds."""

    application: ReleaseHeaderMiddleware
    sockets: list[socket.socket]
    """Listening, and shared with the servers of other releases."""
    peers: Sequence[Network]
    """From where TCP connections are taken; none: from everywhere."""
    connections: ConnectionSettings
    standby: Standby
    status_line: StatusLine
    watchdog: Watchdog
    idle_timer: IdleTimer
    drain_grace: float
    """How long idle connections are kept on stop."""
    drain_limit: int
    """How long requests under way may take on stop, after the grace."""


class Server(uvicorn.Server):
    """A uvicorn server on shared sockets.

    Stock uvicorn closes idle connections the moment it is told to stop, and asyncio drops a connection that was
    accepted in the same turn in which its listener is closed. Here SIGTERM first stops accepting, then answers for a
    grace period with `Connection: close`, and only then lets uvicorn shut down. Standby is the first half of that.
    `self.servers` are closed, the shared sockets never are: a standby that resumes accepts on new duplicates of them.

    `on_tick`, which uvicorn awaits ten times a second, brings about what is asked for. What of uvicorn is overridden
    and used here is listed in modelserver.http.uvicorn_check.
    """

    def __init__(self, parts: ServerParts) -> None:
        """Serves until SIGTERM or SIGINT, or until it has been idle for long enough."""
        super().__init__(
            uvicorn.Config(
                parts.application,
                loop="asyncio",
                http=partial(Connection, parts.connections),  # type: ignore[arg-type]  # uvicorn only calls it
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                backlog=ACCEPTED_AT_ONCE,
                timeout_graceful_shutdown=parts.drain_limit,
            )
        )
        self.servers: list[asyncio.base_events.Server] = []
        self._parts = parts
        self._loop: asyncio.AbstractEventLoop | None = None
        self._standing_by = False
        self._draining = False
        self._drain_began = 0.0
        self._stopped_accepting_at = 0.0
        self._requests_seen = 0

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serves until told to stop."""
        self._loop = asyncio.get_running_loop()
        self._parts.standby.catch_signals()  # again: the model's code has run in the meantime
        await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accepts on the shared sockets, unless it is to stand by, then says READY=1."""
        parts = self._parts
        self._standing_by = parts.application.sends_clients_away = parts.standby.requested
        await self._accept_on([] if self._standing_by else sockets or parts.sockets)
        if self._draining:
            return
        now = asyncio.get_running_loop().time()
        parts.idle_timer.start(now)
        parts.status_line.ready(now, self._standing_by)
        parts.watchdog.start()

    async def on_tick(self, counter: int) -> bool:
        """Does what is due; whether to shut down."""
        stop = await super().on_tick(counter)
        now = asyncio.get_running_loop().time()
        if stop or self._draining:
            return stop or self._is_drained(now)
        standby = self._parts.standby.requested
        if standby != self._standing_by:
            await self._set_standby(standby, now)
        self._drain_when_idle(now)
        if not self._draining:
            self._parts.status_line.tick(now)
        return False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - signature of uvicorn's method
        """SIGTERM or SIGINT: drain; a second SIGINT, by hand: stop now."""
        if self._draining and sig == signal.SIGINT:
            self.should_exit = self.force_exit = True
        elif self._loop is not None:
            # This is a signal handler: it may run between any two steps of the event loop.
            self._loop.call_soon_threadsafe(self._drain, "finishing the requests under way")

    async def _set_standby(self, standby: bool, now: float) -> None:
        """Goes into standby, or back."""
        self._standing_by = self._parts.application.sends_clients_away = standby
        if standby:
            self._stop_accepting()
        else:
            await self._accept_on(self._parts.sockets)
        # A SIGTERM may have come meanwhile; what leaves says nothing of standby any more.
        if not self._draining:
            self._parts.status_line.set_standby(now, standby)

    def _drain_when_idle(self, now: float) -> None:
        """Leaves when there was no request for long enough."""
        timer, requests = self._parts.idle_timer, self.server_state.total_requests
        has_new_requests, self._requests_seen = requests != self._requests_seen, requests
        # In standby another release serves, which may fail: this one has to be there then.
        if self._standing_by or self.server_state.tasks or has_new_requests:
            timer.reset(now)
        elif timer.has_expired(now):
            self._drain(f"idle for {timer.seconds(now)} s, the next request starts it again")

    def _drain(self, why: str) -> None:
        """Begins to leave: accepts no more, and has connections closed with their next answer."""
        if self._draining:
            return
        self._draining = self._parts.application.sends_clients_away = True
        self._drain_began = asyncio.get_running_loop().time()
        if not self._standing_by:
            self._stop_accepting()
        self._parts.status_line.stopping(why)

    def _is_drained(self, now: float) -> bool:
        """Whether the grace period is over, or nobody is connected any more."""
        # What was accepted last is among the connections only after a moment.
        has_settled = now - self._stopped_accepting_at > 2 * _SETTLE_SECONDS
        is_deserted = has_settled and not self.server_state.connections
        return is_deserted or now - self._drain_began > self._parts.drain_grace

    async def _accept_on(self, shared: list[socket.socket]) -> None:
        listeners: list[socket.socket] = [
            Listener.on(shared_socket, self._parts.peers, self._close_one_connection) for shared_socket in shared
        ]
        await super().startup(sockets=listeners)
        if self._draining:  # a SIGTERM came while the listeners were made
            self._stop_accepting()

    def _close_one_connection(self) -> bool:
        """There are no descriptors left: a connection has to go; whether one could be spared."""
        return self._parts.connections.limit.close_one(asyncio.get_running_loop().time())

    def _stop_accepting(self) -> None:
        loop = asyncio.get_running_loop()
        self._stopped_accepting_at = loop.time()
        for server in self.servers:
            for listener in server.sockets:
                loop.remove_reader(listener.fileno())
            # Closing at once would make asyncio drop a connection that it accepted in this very turn.
            loop.call_later(_SETTLE_SECONDS, server.close)
