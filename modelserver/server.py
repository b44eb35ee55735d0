"""Serves with uvicorn; stops or stands by so that no request is lost while another release takes the same socket."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Sequence
from functools import partial
from types import FrameType

import uvicorn

from modelserver.http.app import Front
from modelserver.http.connection import Connection, Rules
from modelserver.http.listener import AT_ONCE, Listener
from modelserver.http.peers import Network
from modelserver.systemd.idle import Idleness
from modelserver.systemd.standby import Standby
from modelserver.systemd.status_line import Reports
from modelserver.systemd.watchdog import Watchdog

# Long enough for a connection that the last accept() took to become a protocol, and its first request to arrive.
_SETTLE_SECONDS = 0.25


class Server(uvicorn.Server):
    """A uvicorn server on shared sockets.

    Stock uvicorn closes idle connections the moment it is told to stop, and asyncio drops a connection that was
    accepted in the same turn in which its listener is closed. Here SIGTERM first stops accepting, then answers for a
    grace period with `Connection: close`, and only then lets uvicorn shut down. Standby is the first half of that.
    `self.servers` are closed, `self._shared` never is: a standby that resumes accepts on new duplicates of it.

    `on_tick`, which uvicorn awaits ten times a second, brings about what is wanted.
    """

    def __init__(
        self,
        front: Front,
        shared: list[socket.socket],
        *,
        standby: Standby,
        reports: Reports,
        watchdog: Watchdog,
        idleness: Idleness,
        rules: Rules,
        peers: Sequence[Network],
        grace: float,
        limit: int,
    ) -> None:
        """Serves `front` on `shared`; on stop, idle connections are kept for `grace`, requests for `limit` seconds."""
        super().__init__(
            uvicorn.Config(
                front,
                loop="asyncio",
                http=partial(Connection, rules),  # type: ignore[arg-type]  # uvicorn only calls it
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                backlog=AT_ONCE,
                timeout_graceful_shutdown=limit,
            )
        )
        self.servers: list[asyncio.base_events.Server] = []
        self._front = front
        self._shared = shared
        self._standby = standby
        self._reports = reports
        self._watchdog = watchdog
        self._idleness = idleness
        self._rules = rules
        self._peers = peers
        self._grace = grace
        self._loop: asyncio.AbstractEventLoop | None = None
        self._standing_by = False
        self._draining = False
        self._drain_began = 0.0
        self._stopped_accepting = 0.0
        self._requests_seen = 0

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serves until told to stop."""
        self._loop = asyncio.get_running_loop()
        self._standby.catch()  # again: the model's code has run in the meantime
        await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accepts on the shared sockets, unless it is to stand by, then says READY=1."""
        self._standing_by = self._front.sends_away = self._standby.wanted
        await self._accept([] if self._standing_by else sockets or self._shared)
        if self._draining:
            return
        now = asyncio.get_running_loop().time()
        self._idleness.start(now)
        self._reports.ready(now, self._standing_by)
        self._watchdog.start()

    async def on_tick(self, counter: int) -> bool:
        """Does what is due; whether to shut down."""
        stop = await super().on_tick(counter)
        now = asyncio.get_running_loop().time()
        if stop or self._draining:
            return stop or self._drained(now)
        if self._standby.wanted != self._standing_by:
            await self._follow(self._standby.wanted, now)
        self._watch_requests(now)
        if not self._draining:
            self._reports.tick(now)
        return False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - signature of uvicorn's method
        """SIGTERM or SIGINT: drain; a second SIGINT, by hand: stop now."""
        if self._draining and sig == signal.SIGINT:
            self.should_exit = self.force_exit = True
        elif self._loop is not None:
            self._loop.call_soon_threadsafe(self._drain, "finishing the requests under way")

    async def _follow(self, standby: bool, now: float) -> None:
        """Goes into standby, or back."""
        self._standing_by = self._front.sends_away = standby
        if standby:
            self._stop_accepting()
        else:
            await self._accept(self._shared)
        if not self._draining:
            self._reports.change(now, standby)

    def _watch_requests(self, now: float) -> None:
        """Leaves when nobody has wanted anything for long enough. In standby another one serves, and may fail."""
        seen, self._requests_seen = self._requests_seen, self.server_state.total_requests
        if self._standing_by or self.server_state.tasks or self._requests_seen != seen:
            self._idleness.busy(now)
        elif self._idleness.over(now):
            self._drain(f"idle for {self._idleness.seconds(now)} s, the next request starts it again")

    def _drain(self, why: str) -> None:
        if self._draining:
            return
        self._draining = self._front.sends_away = True
        self._drain_began = asyncio.get_running_loop().time()
        if not self._standing_by:
            self._stop_accepting()
        self._reports.leaving(why)

    def _drained(self, now: float) -> bool:
        """Whether the grace period is over, or nobody is connected any more."""
        nobody = not self.server_state.connections and now - self._stopped_accepting > 2 * _SETTLE_SECONDS
        return nobody or now - self._drain_began > self._grace

    async def _accept(self, shared: list[socket.socket]) -> None:
        await super().startup(sockets=[Listener.of(one, self._peers, self._spare_one) for one in shared])
        if self._draining:  # a SIGTERM came while the listeners were made
            self._stop_accepting()

    def _spare_one(self) -> bool:
        """There are no descriptors left: somebody has to go."""
        return self._rules.crowd.evict(asyncio.get_running_loop().time())

    def _stop_accepting(self) -> None:
        loop = asyncio.get_running_loop()
        self._stopped_accepting = loop.time()
        for server in self.servers:
            for listener in server.sockets:
                loop.remove_reader(listener.fileno())
            # Closing at once would make asyncio drop a connection that it accepted in this very turn.
            loop.call_later(_SETTLE_SECONDS, server.close)
