"""`reconciler logs`: the journal of a deployment, also of one that is gone."""

import os
import subprocess
import sys
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Annotated

import typer

from reconciler.cli.exit import FAILED, MISUSED, refuse
from reconciler.cli.known import published_names, refuse_unknown
from reconciler.cli.operator_commands import Name, check_name
from reconciler.cli.times import MomentError, moment_before, parse_moment

app = typer.Typer()
_SECONDS = 20
"""For which the journal may look for the names that it has lines of."""


@app.command()
def logs(
    name: Name,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep showing new lines.")] = False,
    lines: Annotated[
        int | None, typer.Option("--lines", "-n", min=0, help="Show only this many of the latest lines.")
    ] = None,
    since: Annotated[
        str, typer.Option("--since", metavar="WHEN", help="Since when: 30m or 2h ago, or 2026-11-30T18:00.")
    ] = "",
) -> None:
    """Show the journal of a deployment: lines of the reconciler, of its release steps and of its servers."""
    check_name("show the log of", name)
    arguments = ["journalctl", "--no-hostname", f"MODEL={name}"]
    if follow:
        arguments.append("--follow")
    if lines is not None:
        arguments.append(f"--lines={lines}")
    if since:
        arguments.append(f"--since=@{int(_moment(name, since).timestamp())}")
    known = published_names()
    if name not in known:
        _refuse_without_lines(name, known)
    sys.stdout.flush()  # the program that takes this process over knows nothing of our buffer
    try:
        os.execvp("journalctl", arguments)  # noqa: S606, S607 - no shell; the host's own program, the name is checked
    except OSError as error:
        refuse(f"cannot show the log of {name}: journalctl: {error.strerror}; install systemd's journalctl", FAILED)


def _moment(name: str, since: str) -> datetime:
    """Read a span before now, or a moment."""
    try:
        return moment_before(since, datetime.now(UTC))
    except MomentError as error:
        why = str(error)
    try:
        return parse_moment(since)
    except MomentError:
        refuse(f"cannot show the log of {name}: {why}, or a moment such as 2026-11-30T18:00", MISUSED)


def _refuse_without_lines(name: str, known: Collection[str]) -> None:
    """End the command unless the journal has lines of a deployment that is not here any more."""
    command = ["journalctl", "--quiet", "--field=MODEL"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603 - no shell
    except (OSError, subprocess.TimeoutExpired):
        return  # journalctl itself is asked next, and says what is wrong
    has_lines = set(done.stdout.split("\n")) - {""}
    if name not in has_lines:
        refuse_unknown("show the log of", name, {*known, *has_lines})
