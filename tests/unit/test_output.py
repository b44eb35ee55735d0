"""What `reconciler status` and `reconciler plan` print."""

import json
import sys
from datetime import UTC, datetime, timedelta

import pytest

from reconciler.cli import output
from reconciler.core.planner.actions import Reload
from reconciler.core.planner.plan import Plan
from reconciler.core.state.status import DeploymentStatus, RegistryStatus, State, Status
from reconciler.core.units.observed import Observed, Unit

NOW = datetime.now(UTC)


def status(*deployments: DeploymentStatus) -> Status:
    """A document about a host whose registry answers."""
    return Status(schema=1, host="here", registry=RegistryStatus(reachable=True, read_at=NOW), deployments=deployments)


def test_in_a_pipe_each_deployment_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """However long the message is, so that grep finds all of it."""
    message = "cannot load the model: " + "word " * 60 + "end"
    failed = DeploymentStatus(name="demo", state=State.FAILED, desired_version="3", message=message, since=NOW)
    output.status(status(failed), as_json=False)
    heading, table, row = capsys.readouterr().out.splitlines()
    assert heading.startswith("here: the registry was read ")
    assert table.split() == ["NAME", "STATE", "WANTED", "ACTIVE", "SINCE", "URL", "MESSAGE"]
    assert row.startswith("demo")
    assert row.rstrip().endswith(message)


def test_in_a_narrow_terminal_only_name_and_message_are_folded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An address can be copied, headings can be read, whatever the other columns hold."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")  # 80 columns
    url = "http://127.0.0.1:20999"
    long_ago = datetime.now(UTC) - timedelta(minutes=59)
    rolling = DeploymentStatus(
        name="n" * 64, state=State.ROLLING_OUT, desired_version="1234567", message="word " * 9, since=long_ago, url=url
    )
    output.status(status(rolling), as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert lines[1].split() == ["NAME", "STATE", "WANTED", "ACTIVE", "SINCE", "URL", "MESSAGE"]
    assert {"rolling-out", "1234567", url} <= set(lines[2].split())


def test_what_others_wrote_cannot_paint_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters and changes of direction come out as blanks, markup as text."""
    hostile = DeploymentStatus(name="a\u202eb", state=State.FAILED, message="[red]\x1b[31m\n", since=NOW)
    output.status(status(hostile), as_json=False)
    row = capsys.readouterr().out.splitlines()[2]
    assert row.isprintable()
    assert "[red] [31m" in row


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
