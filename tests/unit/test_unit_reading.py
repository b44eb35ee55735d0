"""What is read of a unit's properties, also where systemd forgets the unit in between."""

from typing import Any

import pytest

from reconciler.adapters.unit_reading import Row, read_unit

SERVER = "model-demo@1.0a1b2c3d.service"
PATIENCE = 10.0
LIMITS = {"TimeoutStartUSec": 300_000_000, "TimeoutStopUSec": 30_000_000}
FORGOTTEN: dict[str, Any] = {**LIMITS, "StatusText": "", "Result": "success", "InvocationID": b"", "ExecStartPre": ()}
"""What systemd answers for a unit that it only just loaded: 0 for each moment, and this for the others."""


@pytest.mark.parametrize("state", ["deactivating", "activating"])
def test_a_server_that_has_ended_since_is_not_overdue(state: str) -> None:
    """Its times are all 0, which is no time in the past."""
    unit = read_unit(Row(SERVER, "loaded", state, "stop-sigterm"), lambda _, name: FORGOTTEN.get(name, 0))
    assert unit.overdue_at(PATIENCE) is None


def test_a_server_that_stops_is_due_after_what_its_unit_allows() -> None:
    """And a while, in which systemd comes first."""
    told = {**LIMITS, "StateChangeTimestampMonotonic": 7_000_000}
    unit = read_unit(Row(SERVER, "loaded", "deactivating", "stop-sigterm"), lambda _, name: told.get(name, 0))
    due = unit.overdue_at(PATIENCE)
    assert due is not None
    assert due >= 37.0
