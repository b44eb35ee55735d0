"""`reconciler wait`: ends once a version serves and was proved, or is rejected; for scripts that update many hosts."""

import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli.exit import MISUSED, refuse
from reconciler.cli.known import complete
from reconciler.cli.operator_commands import check_name
from reconciler.cli.times import MomentError, moment_after

if TYPE_CHECKING:
    from reconciler.core.state.waiting import Told

app = typer.Typer()
_EVERY = 1.0
"""Seconds between two looks: at the status, which is a file in memory, and at our services, which systemd knows."""


@app.command()
def wait(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The deployment; it need not be here yet.", autocompletion=complete)
    ],
    version: Annotated[
        int | None,
        typer.Option("--version", metavar="V", min=1, help="The version that is to serve; else the one wanted now."),
    ] = None,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="SPAN", help="For how long it waits at most, such as 90s or 10m.")
    ] = "10m",
) -> None:
    """Wait until a version serves and its soak is over (exit 0), or is rejected (exit 1); exit 2 if neither in time.

    Name the version after a promotion: before this host has read the registry again, the former one is wanted.
    """
    check_name("wait for", name)
    now = datetime.now(UTC)
    try:
        seconds = (moment_after(timeout, now) - now).total_seconds()
    except MomentError as error:
        refuse(f"cannot wait for {name}: {error}", MISUSED)
    told = _wait(name, str(version) if version else None, time.monotonic() + seconds)
    sys.stdout.write(f"{told.sentence}\n")
    raise typer.Exit(told.outcome)


def _wait(name: str, version: str | None, end: float) -> "Told":
    """Look until there is an outcome, or until `end` on the monotonic clock. What changes meanwhile goes to stderr."""
    from reconciler.core.state.waiting import Outcome

    said = ""
    while True:
        told = _look(name, version)
        left = end - time.monotonic()
        if told.outcome is not Outcome.NOT_YET or left <= 0:
            return told
        if told.sentence != said:
            said = told.sentence
            sys.stderr.write(f"{said}\n")
            sys.stderr.flush()
        time.sleep(min(_EVERY, left))


def _look(name: str, version: str | None) -> "Told":
    from reconciler.cli.status.document import current_and_kept_up
    from reconciler.core.state.waiting import Outcome, Told, waited
    from reconciler.files.status_file import NoStatusError

    try:
        document, is_kept_up = current_and_kept_up(datetime.now(UTC))
        return waited(document, name, version, is_kept_up=is_kept_up)
    except NoStatusError as error:
        return Told(Outcome.NOT_YET, f"there is no status: {error}; see systemctl status mlflow-reconciler")
