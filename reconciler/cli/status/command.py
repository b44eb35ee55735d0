"""The command line of `reconciler status`."""

import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, NoReturn

import typer

from reconciler.cli.exit import FAILED, MISUSED, refuse
from reconciler.cli.known import complete

app = typer.Typer()


@app.command()
def status(
    name: Annotated[
        str, typer.Argument(metavar="[NAME]", help="One deployment, of which all is shown.", autocompletion=complete)
    ] = "",
    check: Annotated[
        bool, typer.Option("--check", help="One line for a monitor; exits 0, 1, 2 or 3 as a Nagios plugin does.")
    ] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Keep showing it, until Ctrl-C.")] = False,
    fleet: Annotated[
        bool, typer.Option("--fleet", help="What all hosts report of each version, as the registry tells.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Show the state of each deployment, or all about one of them and what to do."""
    from reconciler.files.fleet_file import NoFleetError
    from reconciler.files.status_file import NoStatusError

    if sum((check, watch, as_json)) > 1:
        refuse("cannot show the status in several ways: give one of --check, --watch and --json", MISUSED)
    if check and fleet:
        refuse("cannot check the fleet: ask each host with --check", MISUSED)
    if check:
        _check(name)
    lay_out, document = (_fleet_lines, _fleet_json) if fleet else (_lines, _json)
    if watch:
        _watch(lambda: lay_out(name))
        return
    try:
        lines = [document(name)] if as_json else lay_out(name)
    except NoFleetError as error:
        refuse(_no_fleet(error), FAILED)
    except NoStatusError as error:
        refuse(_no_status(error), FAILED)
    sys.stdout.writelines(f"{line}\n" for line in lines)


def _lines(name: str) -> Sequence[str]:
    """Lay out the table, or the page of one deployment. Raises NoStatusError."""
    from reconciler.cli.terminal import width

    now = datetime.now(UTC)
    if name:
        from reconciler.cli.status.page import deployment_page
        from reconciler.cli.status.page_text import page_text

        return page_text(deployment_page(name, now), width(), now)
    from reconciler.cli.status.document import current_status
    from reconciler.cli.status.overview import overview

    return overview(current_status(now), width(), now)


def _fleet_lines(name: str) -> Sequence[str]:
    """Lay out what hosts report. Raises NoFleetError, NoStatusError."""
    from reconciler.cli.status.document import current_status
    from reconciler.cli.status.fleet import fleet_table, of_deployment
    from reconciler.cli.terminal import width
    from reconciler.files.fleet_file import read_fleet

    now = datetime.now(UTC)
    return fleet_table(of_deployment(read_fleet(), name), current_status(now), width(), now)


def _fleet_json(name: str) -> str:
    """Return what hosts report as a document. Raises NoFleetError."""
    from reconciler.cli.status.fleet import of_deployment
    from reconciler.files.fleet_file import read_fleet

    return of_deployment(read_fleet(), name).model_dump_json(by_alias=True, indent=1)


def _json(name: str) -> str:
    """Return the document, or that of one deployment. Raises NoStatusError."""
    now = datetime.now(UTC)
    if name:
        from reconciler.cli.status.page import deployment_page

        return deployment_page(name, now).model_dump_json(by_alias=True, indent=1)
    from reconciler.cli.status.document import current_status

    return current_status(now).model_dump_json(by_alias=True, indent=1)


def _check(name: str) -> NoReturn:
    from reconciler.cli.status.document import current_status
    from reconciler.core.state.verdict import UNKNOWN, verdict
    from reconciler.files.status_file import NoStatusError

    try:
        code, line = verdict(current_status(datetime.now(UTC)), name)
    except NoStatusError as error:
        code, line = UNKNOWN, f"RECONCILER UNKNOWN: there is no status: {error}"
    sys.stdout.write(f"{line}\n")
    raise typer.Exit(code)


def _watch(lay_out: Callable[[], Sequence[str]]) -> None:
    from reconciler.cli.status.live import watch
    from reconciler.files.fleet_file import NoFleetError
    from reconciler.files.status_file import NoStatusError

    def draw() -> Sequence[str]:
        try:
            return lay_out()
        except NoStatusError as error:
            return [_no_status(error)]  # it may be there a second later
        except NoFleetError as error:
            return [_no_fleet(error)]

    if not sys.stdout.isatty():
        refuse("cannot watch: the output is no terminal; ask for --json as often as you need it", MISUSED)
    watch(draw)


def _no_fleet(error: Exception) -> str:
    return f"cannot show the fleet: {error}; see systemctl status mlflow-registry-agent"


def _no_status(error: Exception) -> str:
    return f"cannot show the status: {error}; see systemctl status mlflow-reconciler"
