"""Decides when a server has been idle for so long that it may leave: its socket starts it again."""

from __future__ import annotations


class IdleTimer:
    """How long the server has been idle. All times are seconds of the event loop's clock."""

    def __init__(self, timeout: int, soak: int) -> None:
        """Expires after `timeout` idle seconds (0: never), but not within the first `soak` seconds."""
        self._timeout = timeout
        self._soak = soak
        self._soak_ends = 0.0
        self._idle_since = 0.0

    def start(self, now: float) -> None:
        """The server is ready."""
        self._soak_ends = now + self._soak
        self._idle_since = now

    def reset(self, now: float) -> None:
        """A request is under way, or the server is not free to leave."""
        self._idle_since = now

    def has_expired(self, now: float) -> bool:
        """Whether the server may leave."""
        has_been_idle = 0 < self._timeout <= self.seconds(now)
        # The reconciler takes a candidate that ends within its soak for one that failed.
        return has_been_idle and now >= self._soak_ends

    def seconds(self, now: float) -> int:
        """How long the server has been idle."""
        return int(now - self._idle_since)
