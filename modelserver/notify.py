"""Tells systemd how the server is doing (the sd_notify protocol: one datagram on a unix socket)."""

from __future__ import annotations

import os
import socket

from modelserver.failure import one_line


class Notifier:
    """Sends state to the service manager, or nowhere when nobody asked for it."""

    def __init__(self, address: str | None) -> None:
        """`address` as in NOTIFY_SOCKET."""
        self._address = address

    @classmethod
    def from_environment(cls) -> Notifier:
        """Takes NOTIFY_SOCKET out of the environment, so that what the model starts cannot speak for the server."""
        return cls(os.environ.pop("NOTIFY_SOCKET", None))

    def status(self, text: str, *states: str) -> None:
        """Sets the unit's status line, together with `states` such as `READY=1`."""
        if not self._address:
            return
        # A leading @ stands for the zero byte of an abstract socket.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        message = "\n".join([*states, f"STATUS={one_line(text)}"])
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
            connection.sendto(message.encode(), address)
