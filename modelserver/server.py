"""Serves with uvicorn, and stops so that no request is lost while another release takes over the same socket."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from types import FrameType

import uvicorn

from modelserver.app import Front
from modelserver.notify import Notifier

_log = logging.getLogger("modelserver")

# listen() on a shared socket overrides the socket unit's Backlog=; the kernel caps this at net.core.somaxconn, which
# is what systemd asks for by default.
_BACKLOG = 65535
# Long enough for a connection that the last accept() took to become a protocol, and its first request to arrive.
_SETTLE_SECONDS = 0.25


class Server(uvicorn.Server):
    """A uvicorn server on shared sockets.

    Stock uvicorn closes idle connections the moment it is told to stop, and asyncio drops a connection that was
    accepted in the same turn in which its listener is closed. Here SIGTERM first stops accepting, then answers for a
    grace period with `Connection: close`, and only then lets uvicorn shut down. `self.servers` are closed,
    `self._shared` never is: starting again (a standby that resumes) is another `startup()`.
    """

    def __init__(
        self, front: Front, shared: list[socket.socket], notifier: Notifier, ready: str, grace: float, limit: int
    ) -> None:
        """Serves `front` on `shared`; `grace` and `limit` in seconds, `ready` is the status line."""
        super().__init__(
            uvicorn.Config(
                front,
                loop="asyncio",
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                backlog=_BACKLOG,
                timeout_graceful_shutdown=limit,
            )
        )
        self.servers: list[asyncio.base_events.Server] = []
        self._front = front
        self._shared = shared
        self._notifier = notifier
        self._ready = ready
        self._grace = grace
        self._loop: asyncio.AbstractEventLoop | None = None
        self._drain_began = 0.0

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serves until told to stop."""
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accepts on duplicates of the shared sockets, then says READY=1."""
        # dup() keeps a socket's time-out: of one that is blocking it would clear O_NONBLOCK for everybody.
        await super().startup(sockets=[one.dup() for one in sockets or self._shared])
        if self._front.draining:
            self._stop_accepting()
            return
        self._notifier.status(self._ready, "READY=1")
        _log.info("%s", self._ready)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - signature of uvicorn's method
        """SIGTERM or SIGINT: drain; a second SIGINT, by hand: stop now."""
        if self._front.draining and sig == signal.SIGINT:
            self.should_exit = self.force_exit = True
        elif self._loop is not None:
            self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        if self._front.draining:
            return
        self._front.draining = True
        self._drain_began = asyncio.get_running_loop().time()
        self._stop_accepting()
        self._notifier.status("finishing the requests under way", "STOPPING=1")
        _log.info("no longer accepting, finishing the requests under way")

    def _stop_accepting(self) -> None:
        loop = asyncio.get_running_loop()
        for server in self.servers:
            for listener in server.sockets:
                loop.remove_reader(listener.fileno())
            # Closing at once would make asyncio drop a connection that it accepted in this very turn.
            loop.call_later(_SETTLE_SECONDS, server.close)

    async def on_tick(self, counter: int) -> bool:
        """Whether to shut down: after the grace period, or as soon as nobody is connected any more."""
        stop = await super().on_tick(counter)
        if stop or not self._front.draining:
            return stop
        drained_for = asyncio.get_running_loop().time() - self._drain_began
        nobody = not self.server_state.connections and drained_for > 2 * _SETTLE_SECONDS
        return nobody or drained_for > self._grace
