"""Reads the published status and brings it up to this moment."""

import os
import stat
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from reconciler.adapters.systemctl import show
from reconciler.core.state.as_of_now import AGENT, FAILS, RECONCILER, Service, as_of_now
from reconciler.core.state.status import Status
from reconciler.core.units import paths
from reconciler.files.status_file import read_status


def current_status(now: datetime) -> Status:
    """Return the status as it is now. Raises NoStatusError."""
    return as_of_now(read_status(), _touched(Path(paths.REGISTRY_FILE)), _services(), now)


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
