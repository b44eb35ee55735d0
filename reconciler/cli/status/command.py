"""The command line of `reconciler status`."""

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from reconciler.cli.exit import FAILED, MISUSED, refuse

app = typer.Typer()


@app.command()
def status(
    check: Annotated[
        bool, typer.Option("--check", help="One line for a monitor; exits 0, 1, 2 or 3 as a Nagios plugin does.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep showing it, until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Show the state of each deployment."""
    if sum((check, watch, as_json)) > 1:
        refuse("cannot show the status in several ways: give one of --check, --watch and --json", MISUSED)
    if check:
        _check()
    elif watch:
        _watch(_overview)
    elif as_json:
        _print_json()
    else:
        sys.stdout.writelines(f"{line}\n" for line in _overview())


def _overview() -> Sequence[str]:
    from reconciler.cli.status.document import current_status
    from reconciler.cli.status.overview import overview
    from reconciler.cli.terminal import width
    from reconciler.files.status_file import NoStatusError

    now = datetime.now(UTC)
    try:
        return overview(current_status(now), width(), now)
    except NoStatusError as error:
        refuse(f"cannot show the status: {error}; see systemctl status mlflow-reconciler", FAILED)


def _print_json() -> None:
    from reconciler.cli.status.document import current_status
    from reconciler.files.status_file import NoStatusError

    try:
        document = current_status(datetime.now(UTC))
    except NoStatusError as error:
        refuse(f"cannot show the status: {error}; see systemctl status mlflow-reconciler", FAILED)
    sys.stdout.write(document.model_dump_json(by_alias=True, indent=1) + "\n")


def _check() -> None:
    from reconciler.cli.status.document import current_status
    from reconciler.core.state.verdict import Verdict, verdict
    from reconciler.files.status_file import NoStatusError

    try:
        code, line = verdict(current_status(datetime.now(UTC)))
    except NoStatusError as error:
        code, line = Verdict.UNKNOWN, f"RECONCILER UNKNOWN: there is no status: {error}"
    sys.stdout.write(f"{line}\n")
    raise typer.Exit(code)


def _watch(draw: Callable[[], Sequence[str]]) -> None:
    from reconciler.cli.status.live import watch

    if not sys.stdout.isatty():
        refuse("cannot watch: the output is no terminal; ask for --json as often as you need it", MISUSED)
    watch(draw)
