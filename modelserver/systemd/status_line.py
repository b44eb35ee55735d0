"""Keeps the unit's status line up to date: what the server does, and at its end the counters for the reconciler."""

from __future__ import annotations

import logging

from modelserver.systemd.counters import Counters
from modelserver.systemd.notify import Notifier

# The reconciler wakes up at every line: it wants to hear of a new release's first error soon, and of little else.
_SECONDS_BETWEEN_IN_SOAK = 1.0
_SECONDS_BETWEEN = 60.0
_log = logging.getLogger("modelserver")


class Reports:
    """The status lines of one server from READY=1 on."""

    def __init__(self, notifier: Notifier, counters: Counters, release: str, proof: str, soak: int) -> None:
        """Reports `counters` often for `soak` seconds after READY=1, and rarely then; `proof` of that it may answer."""
        self._notifier = notifier
        self._counters = counters
        self._answering = f"answering as {release}; {proof}"
        self._standing_by = f"standing by as {release}"
        self._soak = soak
        self._soak_ends = 0.0
        self._doing = ""
        self._told = ""
        self._told_at = 0.0

    def ready(self, now: float, standing_by: bool) -> None:
        """The first line, together with READY=1; the soak begins."""
        self._soak_ends = now + self._soak
        self.change(now, standing_by, "READY=1")

    def change(self, now: float, standing_by: bool, *states: str) -> None:
        """Says at once whether the server answers or stands by from now on."""
        self._doing = self._standing_by if standing_by else self._answering
        self._tell(now, *states)
        _log.info("%s", self._doing)

    def tick(self, now: float) -> None:
        """Tells what is new, unless the last line is too recent. To be called often: then the last change is told."""
        if self._line() == self._told:
            return
        # Judged by the last line: what happened at the very end of the soak is told at its pace.
        between = _SECONDS_BETWEEN_IN_SOAK if self._told_at < self._soak_ends else _SECONDS_BETWEEN
        if now - self._told_at >= between:
            self._tell(now)

    def leaving(self, why: str) -> None:
        """The last line, together with STOPPING=1."""
        self._notifier.status(why, "STOPPING=1")
        _log.info("no longer accepting: %s", why)

    def _line(self) -> str:
        return f"{self._doing}; {self._counters}"

    def _tell(self, now: float, *states: str) -> None:
        line = self._line()
        self._told_at = now
        if self._notifier.status(line, *states):
            self._told = line
