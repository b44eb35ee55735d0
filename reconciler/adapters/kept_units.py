"""What was read of units and still holds, so that a pass reads anew only what changed since."""

import heapq
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from reconciler.adapters.unit_reading import Row
from reconciler.core.units.observed import Unit

KEPT_FOR = 3600.0
"""Seconds after which anything kept is in doubt: a signal may have been lost in a way that nobody knows of."""
AGAIN = 50
"""Units in doubt that one look reads anew, so that none takes long."""
AFTER_A_DOUBT = 5.0
"""Seconds after something that puts all in doubt; what was read in them is still in doubt."""


class _Kept(NamedTuple):
    row: Row
    unit: Unit
    read_at: float
    """On the clock; infinite where nothing but the row was to be read, so that nothing of it can be in doubt."""


class KeptUnits:
    """What the last look read of each unit. The list of units itself is never kept: each look asks for it.

    Invariant: a unit is read anew when its row is another one than before, or when it changed since it was read, as far
    as signals tell; in doubt, it is read anew soon. `note_…` and `forget` may be called from any thread and wait for
    nobody.
    """

    def __init__(self, read: Callable[[Row], Unit], clock: Callable[[], float] = time.monotonic) -> None:
        """Read units by `read`, which may raise an error: then nothing is kept."""
        self._read = read
        self._clock = clock
        self._kept: dict[str, _Kept] = {}
        self._lock = threading.Lock()
        self._changed: set[str] = set()
        self._doubted_until = float("-inf")
        self._holds = True

    def note_change(self, unit: str) -> None:
        """Take note that a unit changed, or that it was asked to: the next look reads it."""
        with self._lock:
            self._changed.add(unit)

    def note_doubt(self) -> None:
        """Take note that changes may come untold just now: the next looks read everything, a part each."""
        self._doubted_until = self._clock() + AFTER_A_DOUBT

    def forget(self) -> None:
        """Take note that changes were not told: the next look reads everything."""
        with self._lock:
            self._holds = False

    def look(self, list_rows: Callable[[], Sequence[Row]]) -> dict[str, Unit]:
        """Show all units of a list; what `list_rows` raises is passed on."""
        # Before the list: what changes from here on is for the next look, also if it is read already in this one.
        with self._lock:
            changed, self._changed = self._changed, set()
            holds, self._holds = self._holds, True
        former = self._kept if holds else {}
        try:
            self._kept = self._look(list_rows(), former, changed)
        except BaseException:
            self.forget()  # of what changed, nobody knows any more
            raise
        return {name: kept.unit for name, kept in self._kept.items()}

    def _look(self, rows: Sequence[Row], former: dict[str, _Kept], changed: Collection[str]) -> dict[str, _Kept]:
        now = self._clock()
        found = {}
        for row in rows:
            kept = former.get(row.name)
            if kept is None or kept.row != row or row.name in changed:
                kept = self._read_anew(row, now)
            found[row.name] = kept
        # Those read longest ago come first, so that all have their turn however often something puts them in doubt.
        doubtful = [kept for kept in found.values() if self._is_in_doubt(kept, now)]
        for old in heapq.nsmallest(AGAIN, doubtful, key=lambda kept: kept.read_at):
            found[old.row.name] = self._read_anew(old.row, now)
        return found

    def _read_anew(self, row: Row, now: float) -> _Kept:
        unit = self._read(row)
        return _Kept(row, unit, float("inf") if unit == row.plain else now)

    def _is_in_doubt(self, kept: _Kept, now: float) -> bool:
        if kept.read_at == now:  # in this very look
            return False
        return kept.read_at <= self._doubted_until or now - kept.read_at > KEPT_FOR
