"""Holds this process to the servers that the host's settings name, whatever a library is told by a server.

MLflow's client goes where the registry sends it: presigned addresses, redirects, another artifact server. Python itself
asks here before it looks a name up, connects or starts a program, so no version of a library can go past it. Libraries
that bring their own network code in C are not held; the product has none.
"""

import errno
import socket
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from reconciler.core.text.urls import may_reach

_PROGRAMS = frozenset({"subprocess.Popen", "os.posix_spawn", "os.exec", "os.fork", "os.forkpty", "os.system"})
"""Ways to another process, in which nobody would ask."""


class EgressError(BaseException):
    """What would have been reached; not an Exception, so that no layer takes it for one failed try of several."""


class Egress:
    """What this process may reach while it is held."""

    def __init__(self, origins: Collection[str]) -> None:
        """Name the servers, as `https://host:443`; buckets and the like among them allow nothing here."""
        self._origins = frozenset(origins)
        self._addresses: set[tuple[str, int]] = set()
        self._held = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the whole process, all its threads, for the block. Once in a process: Python's hooks stay in it."""
        look_up = socket.getaddrinfo

        def noting(*arguments: Any, **more: Any) -> Any:
            found = look_up(*arguments, **more)
            # It came to that, so the name is one that may be reached.
            self._addresses.update((str(address[0]), int(address[1])) for *_, address in found)
            return found

        socket.getaddrinfo, self._held = noting, True
        sys.addaudithook(self._ask)
        try:
            yield
        finally:
            socket.getaddrinfo, self._held = look_up, False

    def open(self) -> None:
        """Allow all: where the settings name a bucket, its library chooses the servers."""
        self._held = False

    def _ask(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._held:
            return
        if event == "socket.getaddrinfo":
            host, port = arguments[:2]
            if not may_reach(_text(host), _number(port), self._origins):
                raise EgressError(f"{_text(host)}:{port}")
        elif event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            self._ask_about(arguments[1])
        elif event in _PROGRAMS:
            # As where the system does not let it: who starts one for a trifle, such as the processor's name, goes on.
            raise PermissionError(errno.EACCES, "no other program is started while files are downloaded")

    def _ask_about(self, address: object) -> None:
        # A path is a socket of this host's, such as systemd's; None is where it is connected already.
        if isinstance(address, tuple) and address[:2] not in self._addresses:
            raise EgressError(f"{address[0]}:{address[1]}")


def _text(host: object) -> str:
    return host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)


def _number(port: object) -> int:
    text = port.decode("ascii", "replace") if isinstance(port, bytes) else str(port)
    return int(text) if text.isascii() and text.isdecimal() else 0
