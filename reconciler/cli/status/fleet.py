"""The table of `reconciler status --fleet`: one line for each version on each host that reports it."""

from collections.abc import Sequence
from datetime import datetime

from reconciler.cli.status.overview import COLOURS, head
from reconciler.cli.table import table
from reconciler.cli.times import age
from reconciler.core.registry.host_tags import OLD, Told, is_to_come
from reconciler.core.state.fleet import Fleet, HostReport
from reconciler.core.state.status import Status

SILENT = "silent"
"""The word for a report that its host has not kept up."""


def of_deployment(fleet: Fleet, name: str) -> Fleet:
    """Keep the reports of one deployment; "" keeps all."""
    return fleet.model_copy(update={"reports": tuple(one for one in fleet.reports if name in ("", one.name))})


def fleet_table(fleet: Fleet, document: Status, width: int | None, now: datetime) -> list[str]:
    """Lay out what hosts report for `width` columns; None for a pipe. `document`: the status of this host."""
    lines = head(document.registry, document.host, "", width, now)
    if not fleet.reports:
        return [*lines, "no host reports a version that this host reads of"]
    headings = ["NAME", "STATE", "VERSION", "HOST", "SEEN", "SAYS"]
    rows = [_row(report, now) for report in fleet.reports]
    return [*lines, *table(headings, rows, width, {**COLOURS, SILENT: "yellow"})]


def _row(report: HostReport, now: datetime) -> Sequence[str]:
    state, _, says = report.words.partition(" ")
    is_silent = not Told(report.words, report.seen).is_current(now, OLD)
    if is_silent:
        # What it said last may be wrong for long.
        says = f"its last word was: {report.words}"
    if report.seen is not None and is_to_come(report.seen, now):
        says = f"it reports a time that is still to come; {says}"
    return (
        report.name,
        SILENT if is_silent else state.removesuffix(":"),
        str(report.version),
        report.host,
        age(report.seen, now),
        says,
    )
