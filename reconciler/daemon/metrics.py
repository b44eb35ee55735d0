"""Publishes metrics where node_exporter reads them: the reconciler itself has no network."""

import errno
from dataclasses import dataclass
from pathlib import Path

import structlog

from reconciler.core.state.memory import Memory
from reconciler.core.state.metrics import Measured, exposition, failures, restarts
from reconciler.core.state.status import Status
from reconciler.core.units import paths
from reconciler.core.units.observed import Observed
from reconciler.files.atomic import in_words
from reconciler.files.metrics_file import MetricsDirectoryError, remove_metrics, write_metrics

log = structlog.get_logger()

AT_MOST_EVERY = 15.0
"""Seconds between two writes of the same status: a pass with nothing to do stays as cheap as it is."""
_NOT_OPEN = f"the sandbox does not open its directory, or it was made later; see {paths.PRODUCT}/docs/monitoring.md"


@dataclass
class MetricsPublisher:
    """Remembers what was published, so that most passes write nothing."""

    _path: str = ""
    _status: Status | None = None
    _written: float = 0.0
    """When, in seconds since the epoch."""
    _complaint: str = ""

    def publish(
        self, path: str, status: Status, seen: Observed, memory: Memory, ended: float, seconds: float, actions: int
    ) -> None:
        """Write metrics to `path` if the status is another one, or the last write is a while ago; "" is for none.

        `ended` is when the pass ended, in seconds since the epoch, `seconds` how long it took, `actions` what was done
        since the start. A failure is told once and ends no pass.
        """
        if path != self._path:
            self._leave(path)
        is_recent = 0 <= ended - self._written < AT_MOST_EVERY
        if not path or (is_recent and status == self._status):
            return
        measured = Measured(ended, seconds, actions, restarts(seen), failures(seen, memory))
        try:
            write_metrics(Path(path), exposition(status, measured))
        except (OSError, MetricsDirectoryError) as error:
            self._complain(error)
        else:
            self._complaint = ""
        # Also of a write that failed: it is tried again as often, not in each pass.
        self._status, self._written = status, ended

    def _leave(self, path: str) -> None:
        """Go on at another path, and take away what is at the one before."""
        former, self._path, self._status, self._complaint = self._path, path, None, ""
        if not former:
            return
        try:
            remove_metrics(Path(former))
        except (OSError, MetricsDirectoryError) as error:
            self._complain(error)

    def _complain(self, error: Exception) -> None:
        is_closed = isinstance(error, OSError) and error.errno in (errno.EROFS, errno.ENOENT)
        why = _NOT_OPEN if is_closed else in_words(error)
        complaint = f"cannot write the metrics to {self._path}: {why}"
        if complaint != self._complaint:  # it may stay so for many passes
            log.warning(f"{complaint}; it is tried again")
        self._complaint = complaint
