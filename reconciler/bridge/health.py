"""What the bridge says of itself: one status line, which systemd shows and the reconciler reads."""

import asyncio
import os
import time
from collections import Counter

from reconciler.adapters.journal import notify
from reconciler.bridge.outcome import Outcome

_COUNTERS_EVERY = 10.0
"""Seconds between two lines that differ in counters only."""
_TOLD_FOR = 300.0
"""Seconds for which a trouble is told that no later request ran into."""
_SHORTEST = 1.0
"""Seconds between two lines, whatever changes: too many are taken for a flood."""


class Health:
    """The state of the broker, of the bucket and of the server, and what became of requests."""

    def __init__(self) -> None:
        """Begin without anything."""
        self.counts: Counter[Outcome] = Counter()
        self.waiting = 0
        self.beside = False
        self.place = ""
        self.why_no_broker = "it has not tried to reach the broker yet"
        self._troubles: dict[str, tuple[str, float]] = {}
        """By what is in trouble: why, and when that was seen last."""
        self._told = ""
        self._stirred = asyncio.Event()

    def broker(self, place: str, why: str) -> None:
        """Take note of a connection, or with `why` of none."""
        self.place, self.why_no_broker = place, why
        self._stirred.set()

    def trouble(self, what: str, why: str) -> None:
        """Take note of why something does not work that requests need; "" when it does again."""
        before, _ = self._troubles.get(what, ("", 0.0))
        self._troubles[what] = (why, time.monotonic())
        if before != why:
            self._stirred.set()

    def count(self, outcome: Outcome) -> None:
        """Count what became of a request."""
        self.counts[outcome] += 1

    def went_beside(self, beside: bool) -> None:
        """Take note of whether requests are left to an older server."""
        self.beside = beside
        self._stirred.set()

    @property
    def line(self) -> str:
        """The status line: a word for the state first, counters last."""
        answered = sum(count for outcome, count in self.counts.items() if outcome.is_answer)
        failed = self.counts.total() - answered
        return f"{self._state}; answered={answered} failed={failed} waiting={self.waiting}"

    @property
    def _state(self) -> str:
        if self.why_no_broker:
            return f"connecting: {self.why_no_broker}"
        if self.beside:
            by_other = self.counts[Outcome.ANSWERED_BY_OTHER]
            return f"beside an older server, which answered {by_other} requests, at {self.place}"
        since = time.monotonic() - _TOLD_FOR
        trouble = next((why for why, seen in self._troubles.values() if why and seen > since), "")
        return f"degraded: {trouble}" if trouble else f"connected to {self.place}"

    async def run(self) -> None:
        """Tell systemd, when the state changes and now and then, and feed its watchdog, until cancelled."""
        watchdog = int(os.environ.get("WATCHDOG_USEC", "0")) / 1_000_000
        pause = min(_COUNTERS_EVERY, watchdog / 3) if watchdog else _COUNTERS_EVERY
        while True:
            self._stirred.clear()
            line = self.line
            if line != self._told:
                self._told = line
                notify(STATUS=line, WATCHDOG="1")
            else:
                notify(WATCHDOG="1")
            await asyncio.sleep(_SHORTEST)
            try:
                await asyncio.wait_for(self._stirred.wait(), pause)
            except TimeoutError:
                continue
