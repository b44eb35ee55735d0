"""Decides when a server has been idle for so long that it may leave: its socket starts it again."""

from __future__ import annotations


class Idleness:
    """How long nobody has wanted anything."""

    def __init__(self, timeout: int, soak: int) -> None:
        """Over after `timeout` seconds (0: never), but not within the first `soak` seconds."""
        self._timeout = timeout
        self._soak = soak
        self._not_before = 0.0
        self._since = 0.0

    def start(self, now: float) -> None:
        """The server is ready."""
        self._not_before = now + self._soak
        self._since = now

    def busy(self, now: float) -> None:
        """Somebody wants something, or the server is not free to leave."""
        self._since = now

    def over(self, now: float) -> bool:
        """Whether to leave."""
        return 0 < self._timeout <= self.seconds(now) and now >= self._not_before

    def seconds(self, now: float) -> int:
        """How long it has been idle."""
        return int(now - self._since)
