"""The command `reconciler`: agent, run, plan, check. operator_commands.py has the requests of operators.

Each imports what it needs when it is called: the agent no D-Bus, the reconciler no MLflow, `status` neither.
"""

import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reconciler.cli import adopt, history, logs, operator_commands, wait
from reconciler.cli.exit import FAILED, MISUSED, WAITING, become_the_reconciler, need_root, refuse
from reconciler.cli.operator_commands import Json
from reconciler.cli.overview_of_commands import DAEMONS, InOrder, version
from reconciler.cli.status import command as status

if TYPE_CHECKING:  # see above
    from reconciler.core.planner.actions import Action
    from reconciler.settings.model import Settings

app = typer.Typer(
    name="reconciler",
    help="Keeps the models that a registry selects running under systemd.",
    no_args_is_help=True,
    cls=InOrder,
    pretty_exceptions_enable=False,
)
app.add_typer(status.app)
app.add_typer(logs.app)
app.add_typer(operator_commands.app)
app.add_typer(history.app)
app.add_typer(adopt.app)
app.add_typer(wait.app)

Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Read the settings from this file instead of the host's."),
]


def _show_version(is_asked: bool) -> None:
    if is_asked:
        sys.stdout.write(f"reconciler {version()}\n")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version.")
    ] = False,
) -> None:
    """Read what is given before the command."""


@app.command(rich_help_panel=DAEMONS)
def agent(config: Config = None) -> None:
    """Read the registry at intervals and write the snapshot. Runs unprivileged as mlflow-registry-agent.service."""
    from reconciler.agent.poll import run_agent

    run_agent(_settings(config), config)


@app.command(rich_help_panel=DAEMONS)
def run(
    config: Config = None,
    after_action: Annotated[
        str, typer.Option(hidden=True, help="Run a program with the number and text of each action, for fault tests.")
    ] = "",
) -> None:
    """Reconcile the snapshot with this host's units until stopped. Runs as mlflow-reconciler.service."""
    from reconciler.adapters.lean import leave_out_rich

    leave_out_rich()
    from structlog import get_logger

    from reconciler.adapters.file_events import FileEvents
    from reconciler.adapters.journal import configure
    from reconciler.core.units import paths
    from reconciler.daemon import wiring
    from reconciler.daemon.loop import Loop
    from reconciler.files.request_answer import REQUESTS
    from reconciler.files.request_inbox import RequestInbox
    from reconciler.ports.systemd import SystemdError
    from reconciler.settings.load import load

    need_root("run")
    configure("reconciler")
    settings = _settings(config)
    try:
        reconciler = wiring.reconciler(settings, _hook(after_action))
    except SystemdError as error:
        refuse(f"{error}; see whether systemd and dbus run on this host", FAILED)
    # Leftovers of a reconciler that was killed, before the first pass looks at anything.
    reconciler.files.sweep()
    RequestInbox().prepare()
    events = FileEvents()
    loop = Loop(reconciler, lambda: load(config), events.refresh)

    def lost() -> None:
        # Its signals would be missed from here on; a new process gets a new connection.
        get_logger().warning("the connection to D-Bus is closed, so the reconciler ends and systemd starts it again")
        loop.stop()

    events.on_replacement(Path(paths.REGISTRY_FILE).parent, loop.wake)
    events.on_change(Path("/etc/mlflow-reconciler"), loop.settings_changed, recursive=True)
    events.on_change(Path(paths.SHIPPED_TEMPLATES), loop.wake, recursive=True)
    events.on_change(Path(paths.UNIT_DIRECTORY), loop.wake, recursive=True)
    events.on_replacement(REQUESTS, loop.hurry)
    reconciler.systemd.watch(loop.wake, lost)
    # Without events the timer still runs a pass every reconcile.interval seconds.
    try:
        events.start()
    except OSError as error:
        get_logger().warning(f"cannot watch files: {error.strerror}; changes are noticed by the timer instead")
    # What was imported stays for good: the collector need not go through it again and again.
    gc.collect()
    gc.freeze()
    loop.run()
    events.close()


@app.command(rich_help_panel=DAEMONS)
def cluster(config: Config = None) -> None:
    """Reconcile the snapshot with a Kubernetes namespace until stopped. Runs in mlflow-reconciler.service."""
    from reconciler.adapters.lean import leave_out_rich

    leave_out_rich()
    from reconciler.daemon.cluster_wiring import NoClusterError, run_cluster

    try:
        run_cluster(_settings(config), config)
    except NoClusterError as error:
        refuse(str(error), FAILED)


@app.command()
def plan(config: Config = None, as_json: Json = False) -> None:
    """Show what the reconciler does next, what follows, and what waits. Exits 2 if there are changes.

    A unit that is still being started, stopped or cleaned counts as a change. What is held, suspended or waits for its
    next try does not.
    """
    from reconciler.cli.plan_reading import read_shown_plan

    become_the_reconciler("plan")
    shown = read_shown_plan(config)
    if as_json:
        sys.stdout.write(shown.model_dump_json(by_alias=True, indent=1) + "\n")
    else:
        from reconciler.cli.plan_text import print_plan

        print_plan(shown)
    raise typer.Exit(WAITING if shown.has_changes else 0)


@app.command()
def check(config: Config = None, as_json: Json = False) -> None:
    """Find faults of this installation and show how to mend each. Exits 1 if there are any."""
    from reconciler.check.installation import findings, known_pythons, openings, unenforced
    from reconciler.cli import output

    need_root("check")
    found = findings(config)
    output.findings(found, openings(config), known_pythons(config), as_json, unenforced(config))
    raise typer.Exit(FAILED if found else 0)


def _settings(config: Path | None) -> "Settings":
    from reconciler.settings.load import SettingsError, load

    try:
        return load(config)
    except SettingsError as error:
        refuse(str(error), MISUSED)


def _hook(program: str) -> "Callable[[int, Action], None]":
    if not program:
        return lambda _number, _action: None

    import subprocess

    def run_program(number: int, action: "Action") -> None:
        subprocess.run([program, str(number), str(action)], check=True)  # noqa: S603 - named by root, who runs the daemon

    return run_program
