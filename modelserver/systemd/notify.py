"""Tells systemd how the server is doing (the sd_notify protocol: one datagram on a unix socket)."""

from __future__ import annotations

import logging
import os
import socket

from modelserver.errors import one_line

# systemd reads at once what it is sent. If it ever does not, requests must not wait for it.
_PATIENCE_SECONDS = 1.0
_log = logging.getLogger("modelserver")


class Notifier:
    """Sends state to the service manager, or nowhere when the server was not started by one."""

    def __init__(self, address: str | None) -> None:
        """`address` as in NOTIFY_SOCKET."""
        self._address = address

    @classmethod
    def from_environment(cls) -> Notifier:
        """Takes NOTIFY_SOCKET out of the environment, so that what the model starts cannot speak for the server."""
        return cls(os.environ.pop("NOTIFY_SOCKET", None))

    def status(self, text: str, *states: str) -> bool:
        """Sets the unit's status line, together with `states` such as `READY=1`; whether it could be told."""
        return self.send(*states, f"STATUS={one_line(text)}")

    def send(self, *states: str) -> bool:
        """Sends `states` such as `WATCHDOG=1`; whether they could be told. A server that cannot tell serves on."""
        if not self._address:
            return True
        # A leading @ stands for the zero byte of an abstract socket.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
                connection.settimeout(_PATIENCE_SECONDS)
                connection.sendto("\n".join(states).encode(), address)
        except OSError as error:
            _log.warning(
                "cannot tell the service manager %s: %s; see whether it still reads its NOTIFY_SOCKET", states[0], error
            )
            return False
        return True
