"""A listening socket that takes connections in small groups, only of its peers, and goes on without descriptors."""

from __future__ import annotations

import errno
import os
import resource
import socket
from collections.abc import Callable, Sequence
from typing import Any

from modelserver.http import peers

# asyncio accepts so many in one turn of its loop, and cannot count them before the turn after the next one.
ACCEPTED_AT_ONCE = 32
# Descriptors beside those of connections: what was accepted but not counted, what is being closed, the model's own.
_RESERVED_DESCRIPTORS = 512
# listen() on a shared socket overrides the socket unit's Backlog=; the kernel caps this at net.core.somaxconn, which
# is what systemd asks for by default.
_BACKLOG = 65535
_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Listener(socket.socket):
    """Accepts on a duplicate of a shared listening socket, which it never changes.

    asyncio calls `listen`, `accept` and `close`; another event loop may accept on the descriptor itself.
    """

    networks: Sequence[peers.Network] = ()
    free_descriptor: Callable[[], bool]
    _spare: int

    @classmethod
    def on(
        cls, shared: socket.socket, networks: Sequence[peers.Network], free_descriptor: Callable[[], bool]
    ) -> Listener:
        """Accepts connections from `networks` (none: from everywhere) on `shared`.

        `free_descriptor` closes a connection that can be spared; it returns whether there was one.
        """
        # dup() keeps a socket's time-out: of one that is blocking it would clear O_NONBLOCK for everybody.
        with shared.dup() as copy:
            # Asked of the kernel: asyncio sends at once (TCP_NODELAY) only where a socket knows that it is TCP, and one
            # that was made without the number of its protocol does not.
            listener = cls(fileno=copy.detach())
        listener.setblocking(False)
        listener.networks, listener.free_descriptor = networks, free_descriptor
        listener._spare = os.dup(listener.fileno())
        return listener

    def listen(self, backlog: int = _BACKLOG, /) -> None:  # noqa: ARG002 - what asyncio accepts at once is not for the kernel
        """Listens with the longest queue that the kernel allows."""
        super().listen(_BACKLOG)

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection. BlockingIOError and ConnectionAbortedError send asyncio on to its next turn."""
        try:
            connection, address = super().accept()
        except OSError as error:
            if error.errno not in _OUT_OF_DESCRIPTORS:
                raise
            # asyncio would take no connection for a second now: it must not see this error.
            if not self.free_descriptor():
                self._drop_one()
            raise BlockingIOError from error
        if self.family != socket.AF_UNIX and not peers.is_allowed(address[0], self.networks):
            connection.close()
            raise ConnectionAbortedError(f"{address[0]} is none of the peers")
        return connection, address

    def close(self) -> None:
        """Closes its descriptors."""
        if self.fileno() >= 0:
            os.close(self._spare)
        super().close()

    def _drop_one(self) -> None:
        """Takes one connection and closes it: left in the queue it would wake the loop over and over."""
        # The descriptor that is kept for this moment makes room for the one of the connection.
        os.close(self._spare)
        try:
            super().accept()[0].close()
        except OSError:
            pass
        finally:
            self._spare = os.dup(self.fileno())


def raise_descriptor_limit(connections: int) -> int:
    """Raises the limit of descriptors to what `connections` need, and returns how many connections it allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + _RESERVED_DESCRIPTORS
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return connections
    raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    try:
        # No further than needed: select() in the model's code cannot use descriptors from 1024 on.
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    except (OSError, ValueError):
        raised = soft
    return min(connections, max(raised - _RESERVED_DESCRIPTORS, raised // 2))
