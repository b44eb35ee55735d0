"""How long a registry that refuses what this host writes is left in peace."""

from collections.abc import Callable

FIRST_PAUSE = 60.0
LONGEST_PAUSE = 3600.0


class Pause:
    """A pause that doubles with each failure in a row. Seconds."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        """There is none at first; `monotonic` is the clock."""
        self._monotonic = monotonic
        self._length = self._ends = 0.0

    @property
    def is_on(self) -> bool:
        """Whether it is too early for another try."""
        return self._monotonic() < self._ends

    def begin(self) -> float:
        """Begin a pause after a failure, and return its length."""
        self._length = min(max(FIRST_PAUSE, 2 * self._length), LONGEST_PAUSE)
        self._ends = self._monotonic() + self._length
        return self._length

    def forget(self) -> None:
        """Note a success: the next pause is a short one."""
        self._length = 0.0
