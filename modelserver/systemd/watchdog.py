"""Pings systemd's watchdog from the event loop: a loop that stands still is one whose server answers nobody."""

from __future__ import annotations

import asyncio
import os

from modelserver.systemd.notify import Notifier

_PINGS_PER_INTERVAL = 3


class Watchdog:
    """Says WATCHDOG=1 again and again, as long as the event loop gets to it; no thread, which would prove nothing."""

    def __init__(self, notifier: Notifier, pause: float | None) -> None:
        """`pause` in seconds between two pings, None where nobody watches."""
        self._notifier = notifier
        self._pause = pause

    @classmethod
    def from_environment(cls, notifier: Notifier) -> Watchdog:
        """Takes WATCHDOG_USEC and WATCHDOG_PID out of the environment: what the model starts is not what is watched."""
        interval = os.environ.pop("WATCHDOG_USEC", "")
        process = os.environ.pop("WATCHDOG_PID", "")
        watched = process in ("", str(os.getpid())) and interval.isdecimal() and int(interval) > 0
        return cls(notifier, int(interval) / 1_000_000 / _PINGS_PER_INTERVAL if watched else None)

    def start(self) -> None:
        """Pings now, and from the running event loop until that ends."""
        if self._pause is not None:
            self._notifier.send("WATCHDOG=1")
            asyncio.get_running_loop().call_later(self._pause, self.start)
