"""Gets the listening sockets: from systemd, or made here when a person tries a model by hand."""

from __future__ import annotations

import os
import socket

from modelserver.errors import CannotServeError

_FIRST_PASSED = 3  # SD_LISTEN_FDS_START of sd-daemon.h


def inherited() -> list[socket.socket]:
    """The sockets that systemd passed (LISTEN_FDS, LISTEN_PID), TCP and unix alike; empty when it passed none.

    Raises CannotServeError.
    """
    # Taken out of the environment: a process that the model starts has none of these descriptors.
    count = os.environ.pop("LISTEN_FDS", "")
    owner = os.environ.pop("LISTEN_PID", "")
    os.environ.pop("LISTEN_FDNAMES", None)
    if owner != str(os.getpid()) or not count.isdecimal():
        return []
    return [_passed(descriptor) for descriptor in range(_FIRST_PASSED, _FIRST_PASSED + int(count))]


def _passed(descriptor: int) -> socket.socket:
    os.set_inheritable(descriptor, False)
    try:
        passed = socket.socket(fileno=descriptor)
        is_listening = passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise CannotServeError(
            f"cannot use inherited descriptor {descriptor}: {error}; pass listening stream sockets"
        ) from error
    if passed.type != socket.SOCK_STREAM or not is_listening:
        raise CannotServeError(
            f"cannot use inherited descriptor {descriptor}: it is not a listening stream socket; use ListenStream="
        )
    # The socket is shared with the release that serves now, and O_NONBLOCK belongs to the shared open file. It is set
    # here once and never cleared, not even for a moment: the other server's event loop would block in accept().
    passed.setblocking(False)
    return passed


def hand_on(listening: list[socket.socket]) -> None:
    """Has the program that this process becomes inherit the sockets, at the descriptors at which they were passed."""
    for passed in listening:
        os.set_inheritable(passed.fileno(), True)


def bind(address: str) -> list[socket.socket]:
    """A socket of our own on `HOST:PORT`, for trying by hand, or on `unix:PATH`. Raises CannotServeError."""
    if address.startswith("unix:"):
        return [_bind_unix(address.removeprefix("unix:"))]
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise CannotServeError(
            f"cannot bind {address!r}: it is neither HOST:PORT nor unix:PATH; use for example 127.0.0.1:8080"
        )
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, where = found[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
    except (OSError, OverflowError) as error:
        raise CannotServeError(f"cannot bind {address}: {error}; choose another address") from error
    listener.setblocking(False)
    return [listener]


def _bind_unix(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(path)
    except (OSError, ValueError) as error:
        listener.close()
        raise CannotServeError(f"cannot bind unix:{path}: {error}; choose another path") from error
    listener.setblocking(False)
    return listener
