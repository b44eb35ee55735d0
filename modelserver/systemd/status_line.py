"""Keeps the unit's status line up to date: what the server does, and at its end the counters for the reconciler."""

from __future__ import annotations

import logging
from collections.abc import Callable

from modelserver.systemd.counters import Counters
from modelserver.systemd.notify import Notifier

# The reconciler wakes up at every line: it wants to hear of a new release's first error soon, and of little else.
_SECONDS_BETWEEN_IN_SOAK = 1.0
_SECONDS_BETWEEN = 60.0
_MAX_ERROR = 200
_log = logging.getLogger("modelserver")


class StatusLine:
    """The status lines of one server from READY=1 on. All times are seconds of the event loop's clock.

    The reconciler reads the words "answering as" and "standing by", the last error, and the counters at the end.
    """

    def __init__(
        self,
        notifier: Notifier,
        counters: Counters,
        release: str,
        proof: str,
        soak: int,
        last_error: Callable[[], str] = str,
    ) -> None:
        """Tells `counters` often for `soak` seconds after READY=1, then seldom; `proof` says why it may answer.

        `last_error` says what the last error of the release was; "" for none.
        """
        self._notifier = notifier
        self._counters = counters
        self._answering = f"answering as {release}; {proof}"
        self._standing_by = f"standing by as {release}"
        self._soak = soak
        self._last_error = last_error
        self._soak_ends = 0.0
        self._activity = ""
        self._last_line = ""
        self._last_told_at = 0.0

    def ready(self, now: float, standing_by: bool) -> None:
        """Tells the first line, together with READY=1; the soak begins."""
        self._soak_ends = now + self._soak
        self.set_standby(now, standing_by, "READY=1")

    def set_standby(self, now: float, standing_by: bool, *states: str) -> None:
        """Tells at once whether the server answers or stands by from now on."""
        self._activity = self._standing_by if standing_by else self._answering
        self._tell(now, *states)
        _log.info("%s", self._activity)

    def tick(self, now: float) -> None:
        """Tells what is new, unless the last line is too recent. To be called often: then the last change is told."""
        if self._line() == self._last_line:
            return
        # Judged by when the last line was told: a change at the very end of the soak is still told at the soak's pace.
        was_in_soak = self._last_told_at < self._soak_ends
        between = _SECONDS_BETWEEN_IN_SOAK if was_in_soak else _SECONDS_BETWEEN
        if now - self._last_told_at >= between:
            self._tell(now)

    def stopping(self, why: str) -> None:
        """Tells the last line, together with STOPPING=1."""
        self._notifier.status(why, "STOPPING=1")
        _log.info("no longer accepting: %s", why)

    def _line(self) -> str:
        error = self._last_error()[:_MAX_ERROR]
        told = f"last error: {error}; " if error else ""
        return f"{self._activity}; {told}{self._counters}"

    def _tell(self, now: float, *states: str) -> None:
        line = self._line()
        self._last_told_at = now
        # A line that could not be told is still news: tick() tries it again.
        if self._notifier.status(line, *states):
            self._last_line = line
