"""The table of `reconciler status`: for people one line a deployment, for pipes whole lines."""

import re
import sys
from datetime import UTC, datetime, timedelta

import pytest

from reconciler.cli.status.overview import overview
from reconciler.cli.table import folded_table
from reconciler.cli.terminal import columns, cut, fold
from reconciler.core.state.reason import Reason
from reconciler.core.state.status import DeploymentStatus, RegistryStatus, State, Status

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
PYTHON = (
    "cannot build the environment: the model wants Python 3.13, this host has 3.11; log the model with one of these, "
    "or have python3.13 installed in /usr/bin or /usr/local/bin"
)
NAMES = ("pauses", "my-model", "conflict", "spira-big", "n" * 40, "hungry", "iris")
STATES = [*State, *State][:17]


def status(*deployments: DeploymentStatus) -> Status:
    """A document about a host whose registry answers."""
    return Status(schema=1, host="here", registry=RegistryStatus(reachable=True, read_at=NOW), deployments=deployments)


def mixed() -> Status:
    """17 models in all states, with long messages, long names and long numbers."""
    return status(
        *(
            DeploymentStatus(
                name=f"{NAMES[number % len(NAMES)]}-{number}",
                state=state,
                desired_version=str(10**number)[:7],
                active_version="1" if state is State.DEGRADED else None,
                message=PYTHON,
                url="http://127.0.0.1:20828",
                since=NOW - timedelta(minutes=59),
                tries=number,
                next_try=NOW + timedelta(seconds=number),
            )
            for number, state in enumerate(STATES)
        )
    )


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_each_deployment_is_one_line_however_narrow_the_terminal_is(width: int) -> None:
    """17 of them fit into 20 lines, and no line is broken by the terminal."""
    lines = overview(mixed(), width, NOW)
    assert len(lines) <= 20
    assert all(columns(line) <= width for line in lines)
    assert lines[1].split()[:4] == ["NAME", "STATE", "WANTED", "ACTIVE"]
    for one, line in zip(mixed().deployments, lines[2:], strict=False):
        assert line.split()[0] == one.name
    assert sum("…" in line for line in lines) >= 14


def test_tries_and_address_are_shown_where_there_is_room() -> None:
    """The message comes first: it is what people look for."""
    headings = {width: overview(mixed(), width, NOW)[1].split() for width in (80, 100, 120)}
    common = ["NAME", "STATE", "WANTED", "ACTIVE", "SINCE"]
    assert headings[80] == [*common, "MESSAGE"]
    assert headings[100] == [*common, "TRIES", "MESSAGE"]
    assert headings[120] == [*common, "TRIES", "URL", "MESSAGE"]
    assert "4, next 4 s" in overview(mixed(), 120, NOW)[6]


def test_in_a_pipe_each_deployment_is_one_whole_line() -> None:
    """However long the message is, so that grep finds all of it; no blanks at the end of a line."""
    message = "cannot load the model: " + "word " * 60 + "end"
    failed = DeploymentStatus(name="demo", state=State.FAILED, desired_version="3", message=message, since=NOW)
    heading, table, row = overview(status(failed), None, NOW)
    assert heading == "here: the registry was read 0 s ago"
    assert table.split() == ["NAME", "STATE", "WANTED", "ACTIVE", "SINCE", "URL", "MESSAGE"]
    assert row.startswith("demo")
    assert row.endswith(message)
    assert all(line == line.rstrip() for line in overview(mixed(), None, NOW))


def test_a_deployment_that_is_removed_has_no_address() -> None:
    """Its files stay for a while, but nothing listens."""
    shown = {one.state: overview(status(one), None, NOW)[2] for one in mixed().deployments}
    assert {state for state, row in shown.items() if "http://127.0.0.1:20828" not in row} == {State.REMOVING}


def test_in_a_pipe_tries_and_what_to_do_follow_the_message() -> None:
    """There is no page to look at."""
    failed = DeploymentStatus(
        name="x", state=State.FAILED, message="why", since=NOW, tries=3, next_try=NOW + timedelta(seconds=70)
    )
    back = DeploymentStatus(
        name="y", state=State.DEGRADED, reason=Reason.ROLLED_BACK, message="rolled back by root", since=NOW
    )
    lines = overview(status(failed, back), None, NOW)
    assert lines[2].endswith("why; failed 3 times, next try in 1 min")
    assert lines[3].endswith(
        "rolled back by root; reconciler retry y tries the version again; promoting another one takes its place"
    )


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for pipes, not where NO_COLOR is set, not on a dumb terminal."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    serving = status(DeploymentStatus(name="x", state=State.SERVING, since=NOW))
    assert "\x1b" not in "".join(overview(serving, None, NOW))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert "\x1b[32mserving\x1b[0m" in overview(serving, 80, NOW)[2]
    monkeypatch.setenv("TERM", "dumb")
    assert "\x1b" not in "".join(overview(serving, 80, NOW))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in "".join(overview(serving, 80, NOW))


def test_what_others_wrote_cannot_paint_the_terminal() -> None:
    """Control characters and changes of direction come out as blanks, markup as text."""
    hostile = DeploymentStatus(name="a\u202eb", state=State.FAILED, message="[red]\x1b[31m\n", since=NOW)
    row = overview(status(hostile), None, NOW)[2]
    assert row.isprintable()
    assert "[red] [31m" in row


def test_trouble_of_the_host_is_told_above_the_table() -> None:
    """Folded to the width, never cut: there is no other place for it."""
    trouble = "cannot use the settings: " + "word " * 30 + "end; the old settings stay in force"
    lines = overview(mixed().model_copy(update={"trouble": trouble}), 80, NOW)
    assert " ".join(lines[1:4]).startswith(trouble)
    assert lines[4].startswith("NAME")


def test_wide_characters_take_two_columns() -> None:
    """A name that no deployment may have is shown all the same."""
    assert columns("日本a\u0301") == 5
    assert cut("日本語", 5) == "日本…"
    assert cut("plain", 5) == "plain"
    assert [cut("plain", size) for size in (0, 1, 2)] == ["", "…", "p…"]
    assert fold("a bb ccc unbreakable", 6) == ["a bb", "ccc", "unbreakable"]


def test_a_folded_table_has_all_of_its_last_column() -> None:
    """Beside the others where there is room, else below them."""
    rows = [("1", "2026-11-28 12:00:00", "word " * 20 + "end"), ("2", "serves", "")]
    wide, beside, below = (folded_table(("VERSION", "BEGAN", "WHY"), rows, width) for width in (None, 80, 50))
    assert len(wide) == 3
    assert all(columns(line) <= 80 for line in beside)
    assert all(columns(line) <= 50 for line in below)
    for lines in (wide, beside, below):
        assert re.sub(r"\s+", " ", " ".join(lines)).count("word") == 20
    assert below[0].split() == ["VERSION", "BEGAN"]
    assert below[2].startswith("    word")
