"""Pings systemd's watchdog from the event loop: a loop that stands still is one whose server answers nobody."""

from __future__ import annotations

import asyncio
import os

from modelserver.systemd.notify import Notifier

_PINGS_PER_INTERVAL = 3


class Watchdog:
    """Says WATCHDOG=1 again and again, as long as the event loop gets to it.

    From a thread it would prove nothing: a thread goes on when the loop that answers requests stands still.
    """

    def __init__(self, notifier: Notifier, interval: float | None) -> None:
        """`interval`: seconds between two pings, None where systemd does not watch this process."""
        self._notifier = notifier
        self._interval = interval

    @classmethod
    def from_environment(cls, notifier: Notifier) -> Watchdog:
        """Takes WATCHDOG_USEC and WATCHDOG_PID out of the environment: what the model starts is not what is watched."""
        microseconds = os.environ.pop("WATCHDOG_USEC", "")
        process = os.environ.pop("WATCHDOG_PID", "")
        is_for_us = process in ("", str(os.getpid()))
        is_watched = is_for_us and microseconds.isdecimal() and int(microseconds) > 0
        return cls(notifier, int(microseconds) / 1_000_000 / _PINGS_PER_INTERVAL if is_watched else None)

    def start(self) -> None:
        """Pings now, and from the running event loop until that ends."""
        if self._interval is not None:
            self._notifier.send("WATCHDOG=1")
            asyncio.get_running_loop().call_later(self._interval, self.start)
