"""Time and randomness, passed in so that tests decide them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class Clock:
    """The clocks of one host, and the randomness that spreads retries."""

    monotonic: Callable[[], float]
    """Seconds; never jumps. Every wait and retry is measured with it."""
    jitter: Callable[[], float]
    """0 to 1."""
    wall: Callable[[], float] = time.time
    """Seconds since the epoch. People and other processes go by it, and it may jump."""

    def moment(self) -> datetime:
        """Return the wall clock's time in UTC."""
        return datetime.fromtimestamp(self.wall(), UTC)
