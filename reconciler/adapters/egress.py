"""Holds this process to the servers that the host's settings name, wherever a server sends a library.

MLflow's client goes where the registry sends it: presigned addresses, redirects, another artifact server. Python itself
asks here before it looks a name up, connects or starts a program, so no version of a library can avoid it. A library
with network code of its own in C would not be held; the product has none.
"""

import errno
import socket
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from reconciler.core.text.urls import may_reach

_PROGRAMS = frozenset({"subprocess.Popen", "os.posix_spawn", "os.exec", "os.fork", "os.forkpty", "os.system"})
"""Ways to start another process, whose connections would not be checked."""


_holding: list["Egress"] = []


def is_held() -> bool:
    """Whether this process is held to its servers, so that it may follow an address that somebody else has chosen."""
    return any(egress._held for egress in _holding)


class EgressError(BaseException):
    """A server that must not be reached. Not an Exception: a library would take it for one failed try of several."""


class Egress:
    """What this process may reach while it is held."""

    def __init__(self, origins: Collection[str]) -> None:
        """Name the servers, as `https://host:443`; buckets and the like among them allow nothing here."""
        self._origins = frozenset(origins)
        self._addresses: set[tuple[str, int]] = set()
        self._held = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the whole process, all its threads, for the block. Once in a process: Python cannot remove a hook."""
        look_up = socket.getaddrinfo

        def noting(*arguments: Any, **more: Any) -> Any:
            found = look_up(*arguments, **more)
            # `_ask` allowed the name before, so its addresses are allowed, too.
            self._addresses.update((str(address[0]), int(address[1])) for *_, address in found)
            return found

        socket.getaddrinfo, self._held = noting, True
        sys.addaudithook(self._ask)
        _holding.append(self)
        try:
            yield
        finally:
            _holding.remove(self)
            socket.getaddrinfo, self._held = look_up, False

    def narrow(self, origins: Collection[str]) -> None:
        """Allow these servers and no longer those before, at whatever address they were found."""
        self._origins = frozenset(origins)
        self._addresses.clear()

    def open(self) -> None:
        """Allow all: where the settings name a container of a cloud, its library chooses the servers."""
        self._held = False

    def _ask(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._held:
            return
        if event == "socket.getaddrinfo":
            host, port = arguments[:2]
            if not may_reach(_host_text(host), _number(port), self._origins):
                raise EgressError(f"{_host_text(host)}:{port}")
        elif event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            self._ask_about(arguments[1])
        elif event in _PROGRAMS:
            # An error that libraries expect: one that asks a program for the processor's name, say, goes on without.
            raise PermissionError(errno.EACCES, "no other program is started while files are downloaded")

    def _ask_about(self, address: object) -> None:
        # A path is a socket of this host, such as systemd's; None stands for an address that is connected already.
        if isinstance(address, tuple) and address[:2] not in self._addresses:
            raise EgressError(f"{address[0]}:{address[1]}")


def _host_text(host: object) -> str:
    return host.decode("ascii", "replace") if isinstance(host, bytes) else str(host)


def _number(port: object) -> int:
    text = port.decode("ascii", "replace") if isinstance(port, bytes) else str(port)
    return int(text) if text.isascii() and text.isdecimal() else 0
