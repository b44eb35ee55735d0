"""`reconciler history`: what ran, which release answered at a moment, and the audit log of it all."""

import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from reconciler.cli.exit import FAILED, MISUSED, become_the_reconciler, refuse
from reconciler.cli.known import complete, published_names, refuse_unknown
from reconciler.cli.operator_commands import Json, check_name
from reconciler.cli.times import MomentError, past_moment
from reconciler.core.units import paths

if TYPE_CHECKING:  # each form of the command imports what it needs
    from reconciler.core.state.audited_runs import AuditedRun

app = typer.Typer()


@app.command()
def history(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", help="The deployment, as reconciler status shows it.", autocompletion=complete
        ),
    ] = None,
    at: Annotated[
        str,
        typer.Option("--at", metavar="MOMENT", help="Show which release served at 14:03 or 2026-11-30T14:03:20."),
    ] = "",
    export: Annotated[
        bool, typer.Option("--export", help="Print the audit log, one JSON object a line; checks that none is missing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show which releases of a deployment served, and why each ended; also for a removed deployment.

    With --at or --export: of all deployments, unless one is named.
    """
    # Before the name is checked: without root the command never works.
    become_the_reconciler("show the history")
    if name is not None:
        check_name("show the history of", name)
    if at and export:
        refuse("cannot show the history: both --at and --export are given; give one of them", MISUSED)
    if export:
        _export(name)
    elif at:
        _show_moment(name, at, as_json)
    elif name is None:
        refuse("cannot show the history: it is of one deployment; name it, or give --at or --export", MISUSED)
    else:
        _show_runs(name, as_json)


def _show_runs(name: str, as_json: bool) -> None:
    from reconciler.cli import output
    from reconciler.files.history_file import UnusableHistoryError, read_history

    try:
        past = read_history()
    except UnusableHistoryError as error:
        refuse(f"cannot show the history: {error}; it begins anew with the next start of the reconciler", FAILED)
    known = {*published_names(), *(run.name for run in past.runs)}
    if name not in known:
        refuse_unknown("show the history of", name, known)
    output.history(name, past.of(name), as_json)


def _export(name: str | None) -> None:
    """Print the lines as they are; end with 1 when they show that some were changed, taken out or put in."""
    from reconciler.core.state.audit import breaks
    from reconciler.files.audit_file import UnusableAuditError, audit_lines

    def printed() -> Iterator[bytes]:
        for line in audit_lines():
            if name is None or _name_in(line) == name:
                sys.stdout.write(line.decode(errors="replace") + "\n")
            yield line

    try:
        # All lines are checked, also those that are not shown.
        found = list(breaks(printed()))
    except UnusableAuditError as error:
        _refuse_log(error)
    for what in found:
        sys.stderr.write(f"cannot vouch for the audit log: {what}\n")
    if found:
        raise typer.Exit(FAILED)


def _name_in(line: bytes) -> object:
    from reconciler.core.state.audit import read_line

    try:
        return read_line(line)[0].name
    except ValueError:
        return None


def _show_moment(name: str | None, at: str, as_json: bool) -> None:
    from reconciler.core.state.audited_runs import audited_runs
    from reconciler.files.audit_file import UnusableAuditError, audit_entries, audit_lines

    try:
        moment = past_moment(at, datetime.now().astimezone())
    except MomentError as error:
        refuse(f"cannot show the history: {error}", MISUSED)
    try:
        runs = [run for run in audited_runs(audit_entries(audit_lines())) if run.covers(moment)]
    except UnusableAuditError as error:
        _refuse_log(error)
    runs = sorted((run for run in runs if name in (None, run.began.name)), key=lambda run: run.began.name or "")
    if as_json:
        rows = [_row(run) for run in runs]
        document = {"schema": 1, "at": moment.astimezone(UTC).isoformat(), "runs": rows}
        sys.stdout.write(json.dumps(document, indent=1) + "\n")
        return
    _print_moment(name, moment, runs)


def _row(run: "AuditedRun") -> dict[str, object]:
    began = run.began.model_dump(mode="json", include={"name", "version", "release", "origin"})
    ended = run.ended.isoformat() if run.ended else None
    return {**began, "began": run.began.at.isoformat(), "ended": ended, "why": run.why}


def _print_moment(name: str | None, moment: datetime, runs: "list[AuditedRun]") -> None:
    from reconciler.cli import output

    shown = f"{moment.astimezone():%Y-%m-%d %H:%M:%S %Z}"
    if not runs:
        sys.stdout.write(f"no release of {name or 'any deployment'} served at {shown}, as far as the audit log goes\n")
        return
    sys.stdout.write(f"at {shown}:\n")
    output.moment(runs)


def _refuse_log(error: Exception) -> NoReturn:
    refuse(f"cannot read the audit log: {error}; see {paths.PRODUCT}/docs/audit.md", FAILED)
