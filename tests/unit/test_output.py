"""What `reconciler plan` prints."""

import json

import pytest

from reconciler.cli import output
from reconciler.core.planner.actions import Reload
from reconciler.core.planner.plan import Plan
from reconciler.core.units.observed import Observed, Unit


def test_a_plan_tells_what_is_still_being_done(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever waits for an empty plan must not take a pause between two steps for the end; others' units are theirs."""
    moving = ("activating", "deactivating", "maintenance", "reloading")
    seen = Observed(
        {unit.name: unit for unit in (*(Unit(one, active=one) for one in (*moving, "active", "failed")), Unit("down"))},
        foreign=frozenset({"reloading"}),
    )
    assert seen.under_way == ["activating", "deactivating", "maintenance"]
    output.plan(Plan((), ()), seen.under_way, as_json=False)
    output.plan(Plan((Reload("", ""),), ()), ["one"], as_json=False)
    output.plan(Plan((), ()), [], as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "under way: activating, deactivating, maintenance",
        "1. reload systemd's unit files",
        "under way: one",
        "nothing to do",
    ]
    output.plan(Plan((), ()), ["one"], as_json=True)
    assert json.loads(capsys.readouterr().out) == {"schema": 1, "actions": [], "under_way": ["one"]}
