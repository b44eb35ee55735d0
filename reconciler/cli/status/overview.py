"""The table of all deployments: one line each, whatever the terminal's width."""

from collections.abc import Sequence
from datetime import datetime

from reconciler.cli.table import table
from reconciler.cli.terminal import MAX_SHOWN, cut, fold, paint
from reconciler.cli.times import age, span
from reconciler.core.state.advice import advice_beside_message
from reconciler.core.state.status import DeploymentStatus, RegistryStatus, State, Status
from reconciler.core.text.quote import one_line

COLOURS: dict[str, str] = {
    State.SERVING: "green",
    State.IDLE: "green",
    State.FAILED: "red",
    State.STALLED: "red",
    State.DEGRADED: "yellow",
    State.HELD: "yellow",
    State.NOT_DEPLOYABLE: "yellow",
}
_ROOM_FOR_TRIES = 100
_ROOM_FOR_URL = 120
"""Columns of a terminal from which on these columns are shown."""


def overview(document: Status, width: int | None, now: datetime) -> list[str]:
    """Lay out the head and the table for `width` columns; None for a pipe, where every line is whole."""
    lines = head(document.registry, document.host, document.trouble, width, now)
    if not document.deployments:
        return [*lines, "nothing is deployed"]
    tries = width is not None and width >= _ROOM_FOR_TRIES and any(one.tries for one in document.deployments)
    url = width is None or width >= _ROOM_FOR_URL
    headings = ["NAME", "STATE", "WANTED", "ACTIVE", "SINCE", *["TRIES"] * tries, *["URL"] * url, "MESSAGE"]
    rows = [_row(one, now, tries=tries, url=url, whole=width is None) for one in document.deployments]
    lines += table(headings, rows, width, COLOURS)
    needs_a_person = any(one.state in COLOURS and COLOURS[one.state] != "green" for one in document.deployments)
    if width is not None and needs_a_person:
        lines.append(cut("reconciler status NAME shows the whole message, and what to do", width))
    return lines


def in_words(one: DeploymentStatus, now: datetime) -> str:
    """Say how often a deployment was tried in vain and when it is tried next; "" where nothing failed."""
    if not one.tries:
        return ""
    times = "once" if one.tries == 1 else f"{one.tries} times"
    if one.next_try is None:
        return f"failed {times}"
    due = (one.next_try - now).total_seconds()
    return f"failed {times}, next try {f'in {span(due)}' if due >= 1 else 'now'}"


def head(registry: RegistryStatus, host: str, trouble: str, width: int | None, now: datetime) -> list[str]:
    """Say when the registry was read, and what is wrong on the whole host."""
    if registry.reachable:
        but = f"; {registry.message}" if registry.message else ""
        text = f"{host}: the registry was read {age(registry.read_at, now)} ago{but}"
    else:
        but = text = f"{host}: {registry.why_not_reachable}"
    lines = _painted(text, "yellow" if but else "", width)
    return [*lines, *_painted(trouble, "red", width)] if trouble else lines


def _painted(text: str, colour: str, width: int | None) -> list[str]:
    return [paint(line, colour) for line in fold(one_line(text, MAX_SHOWN), width)]


def _row(one: DeploymentStatus, now: datetime, *, tries: bool, url: bool, whole: bool) -> Sequence[str]:
    message = _message(one)
    if whole:  # there is no page to look at for whoever reads a pipe
        message = "; ".join(filter(None, (message, advice_beside_message(one), in_words(one, now))))
    failed = [_short_tries(one, now)] if tries else []
    # While a deployment is removed, nothing listens any more.
    address = "" if one.state is State.REMOVING else one.public_url or one.url
    return (
        one_line(one.name),
        one.state.value,
        one.desired_version or "-",
        one.active_version or "-",
        age(one.since, now),
        *failed,
        *([address or "-"] if url else []),
        one_line(message, MAX_SHOWN),
    )


def _short_tries(one: DeploymentStatus, now: datetime) -> str:
    if not one.tries:
        return "-"
    if one.next_try is None:
        return str(one.tries)
    return f"{one.tries}, next {span(max(0.0, (one.next_try - now).total_seconds()))}"


def _message(one: DeploymentStatus) -> str:
    """Return a deployment's message, with what its bridge to NATS says, if it has one and that is not in it already."""
    is_told = "NATS: " in one.message
    nats = f"NATS: {one.nats}" if one.nats and not is_told else ""
    return "; ".join(filter(None, (one.message, nats)))
