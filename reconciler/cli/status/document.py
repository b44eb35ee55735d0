"""Reads the published status and brings it up to this moment."""

import os
import stat
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from reconciler.adapters.systemctl import show
from reconciler.core.state.as_of_now import AGENT, FAILS, RECONCILER, Service, as_of_now, is_kept_up
from reconciler.core.state.status import Status
from reconciler.core.units import paths
from reconciler.files.status_file import read_status


def current_status(now: datetime) -> Status:
    """Return the status as it is now. Raises NoStatusError."""
    return current_and_kept_up(now)[0]


def current_and_kept_up(now: datetime) -> tuple[Status, bool]:
    """Return the same, and whether the reconciler runs, which keeps it up. Raises NoStatusError."""
    services = _services()
    return as_of_now(read_status(), _touched(Path(paths.REGISTRY_FILE)), services, now), is_kept_up(services)


def _touched(path: Path) -> datetime | None:
    """Return when the agent last confirmed its snapshot; None where that cannot be seen."""
    try:
        about = os.lstat(path)
        return datetime.fromtimestamp(about.st_mtime, UTC) if stat.S_ISREG(about.st_mode) else None
    except (OSError, OverflowError, ValueError):
        return None


def _services() -> dict[str, Service]:
    shown = show((RECONCILER, AGENT), ("ActiveState", "SubState", "StatusText"))
    return {unit: Service(_state(one), one["StatusText"]) for unit, one in shown.items()}


def _state(shown: Mapping[str, str]) -> str:
    # systemd calls one that fails again and again "activating".
    return FAILS if shown["SubState"] == FAILS else shown["ActiveState"]
