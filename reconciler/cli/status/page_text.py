"""Lays out the page of one deployment for people."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from reconciler.cli.status.overview import COLOURS, head, in_words
from reconciler.cli.table import table
from reconciler.cli.terminal import MAX_SHOWN, columns, hang, paint
from reconciler.cli.times import age, local_time, span
from reconciler.core.state.page import DeploymentPage, PastRun, UnitFigures
from reconciler.core.state.status import DeploymentStatus, State
from reconciler.core.text.quote import one_line
from reconciler.core.text.sizes import human_size
from reconciler.core.units import names
from reconciler.core.units.logged_example import LoggedExample

_LABEL = 11
"""Columns of the words on the left."""
_UNKNOWN = "-"
_LONGEST_UNIT = 256
_EXAMPLES = {
    LoggedExample.LOGGED: "each start answers the logged example before it takes a request",
    LoggedExample.NONE: "none is logged: nothing was tried before it took requests",
    LoggedExample.UNUSABLE: "the logged one cannot be replayed: nothing was tried before it took requests",
}


def page_text(page: DeploymentPage, width: int | None, now: datetime) -> list[str]:
    """Lay a page out for `width` columns; None for a pipe."""
    one = page.deployment
    state = paint(one.state.value, COLOURS.get(one.state, ""))
    lines = head(page.registry, page.host, page.trouble, width, now)
    lines.append(f"{paint(one_line(one.name), 'bold')}: {state} since {_moment(one.since, now)}")
    for label, text in _entries(page, now):
        lines += _entry(label, text, width)
    if page.units:
        lines += ["", *_unit_table(page.units, width, now)]
    if page.events is not None:
        lines += ["", f"last events (reconciler logs {one_line(one.name)} has all):"]
        for event in page.events:
            lines += hang(f"  {local_time(event.at)}  ", one_line(event.message, MAX_SHOWN), width)
    return lines


def _entries(page: DeploymentPage, now: datetime) -> Iterator[tuple[str, str]]:
    """Yield what is told in the order in which people ask: what is wrong, what to do, what serves, how to reach it."""
    one = page.deployment
    yield "message", one.message
    yield "to do", page.to_do
    yield "waits for", page.waits_for
    yield "tries", in_words(one, now)
    yield "wanted", f"version {one.desired_version}" if one.desired_version else "no version"
    yield "serving", _serving(page, now)
    for label, run in zip(("before", "", ""), page.before or (), strict=False):
        yield label, _run(run)
    if one.state is not State.REMOVING:  # nothing listens any more
        yield "address", ", ".join(filter(None, (one.public_url, one.url, one.socket)))
    yield "NATS", one.nats
    yield "example", _example(one)
    if page.opened is not None:
        closed = f"; closed to it: {page.closed}" if page.closed else ""
        yield "sandbox", f"open to it: {page.opened or 'nothing more than usual'}{closed}"


def _entry(label: str, text: str, width: int | None) -> list[str]:
    return hang(f"  {label:<{_LABEL}}", one_line(text, MAX_SHOWN), width) if text else []


def _serving(page: DeploymentPage, now: datetime) -> str:
    one = page.deployment
    if one.active_version is None:
        return "no version"
    # The socket may name the next release already, while the good one answers.
    named = page.release or ""
    release = f" (release {named})" if named.partition(".")[0] == one.active_version else ""
    since = f" since {_moment(one.active_since, now)}" if one.active_since else ""
    return f"version {one.active_version}{release}{since}"


def _run(run: PastRun) -> str:
    began = f"from {local_time(run.began)}" if run.began else "never served,"
    ended = f" to {local_time(run.ended)}" if run.ended and run.began else ""
    failed = f" tried {local_time(run.ended)}" if run.ended and not run.began else ""
    return f"version {run.version} {began}{ended}{failed}: {run.why}"


def _example(one: DeploymentStatus) -> str:
    words = [example.value for example in LoggedExample]
    return _EXAMPLES[LoggedExample(one.example)] if one.example in words else ""


def _moment(moment: datetime, now: datetime) -> str:
    return f"{local_time(moment)} ({age(moment, now)})"


def _unit_table(units: Sequence[UnitFigures], width: int | None, now: datetime) -> list[str]:
    headings = ("UNIT", "STATE", "SINCE", "MEMORY", "CPU", "RESTARTS", "REQUESTS", "ERRORS")
    rows = [_unit(unit, now) for unit in units]
    lines = table(headings, rows, None, widest=_LONGEST_UNIT)
    # Where the window is too narrow, the figures count more than one line a unit.
    is_whole = width is None or all(columns(line) <= width for line in lines)
    return lines if is_whole else _narrow(headings, rows)


def _narrow(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Put the figures of each unit on a line below its name and its state."""
    below = table(headings[2:], [row[2:] for row in rows], None)
    lines = []
    for row, figures in zip((headings, *rows), below, strict=True):
        lines += [f"{row[0]}: {row[1]}", f"  {figures}"]
    return lines


def _unit(unit: UnitFigures, now: datetime) -> Sequence[str]:
    is_socket = names.parse_socket(unit.unit) is not None
    most = f" of {human_size(unit.memory_max_bytes)}" if unit.memory_max_bytes is not None else ""
    memory = _UNKNOWN if unit.memory_bytes is None else f"{human_size(unit.memory_bytes)}{most}"
    return (
        unit.unit,
        one_line(unit.state),
        _UNKNOWN if unit.since is None else age(unit.since, now),
        _UNKNOWN if is_socket else memory,
        _UNKNOWN if unit.cpu_seconds is None or is_socket else span(unit.cpu_seconds),
        _UNKNOWN if is_socket else str(unit.restarts),
        _UNKNOWN if unit.requests is None else str(unit.requests),
        _UNKNOWN if unit.errors is None else str(unit.errors),
    )
