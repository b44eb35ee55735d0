"""How fresh the registry's snapshot is: whether the agent confirmed it lately, when, and why not."""

from collections.abc import Callable
from datetime import UTC, datetime

from reconciler.core.state.status import RegistryStatus
from reconciler.core.units import status_lines
from reconciler.files.snapshot_file import SnapshotReading
from reconciler.settings.model import RegistrySettings

AHEAD = 60.0
"""Seconds by which the agent's clock may seem ahead."""
ODD_TIME_STAMP = "cannot tell when the registry was read: its file's time stamp is odd; restart the agent"


def registry_status(
    reading: SnapshotReading, registry: RegistrySettings, now: float, agent_says: Callable[[], str]
) -> RegistryStatus:
    """Judge a reading at the time `now`, in seconds since the epoch.

    `agent_says` is called only when the snapshot is not fresh: it asks systemd for the agent's status line.
    """
    touched = reading.touched
    if touched is None:
        return RegistryStatus(reachable=False, read_at=None, message=_why_not_fresh(reading, agent_says()))
    age = now - touched
    if not -AHEAD <= age <= now:  # from the future, or from before the epoch
        return RegistryStatus(reachable=False, read_at=None, message=ODD_TIME_STAMP)
    read_at = datetime.fromtimestamp(touched, UTC)
    # Two polls may be lost to jitter and a slow answer; the third one counts as missing.
    fresh_for = 3 * registry.poll_interval + registry.timeout
    if age <= fresh_for:
        return RegistryStatus(reachable=True, read_at=read_at, message=reading.problem, fresh_for=fresh_for)
    why = _why_not_fresh(reading, agent_says())
    return RegistryStatus(reachable=False, read_at=read_at, message=why, fresh_for=fresh_for)


def _why_not_fresh(reading: SnapshotReading, said: str) -> str:
    """Say why nothing fresh came; `said` is the agent's own status line."""
    if status_lines.says_why_it_failed(said):
        return said
    if reading.problem:  # the agent knows of no problem: somebody else touched its file
        return reading.problem
    agent = f"mlflow-registry-agent says {said!r}" if said else "mlflow-registry-agent does not run"
    return f"the snapshot was not confirmed lately; {agent}, see systemctl status mlflow-registry-agent"
