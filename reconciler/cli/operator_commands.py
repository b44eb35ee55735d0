"""The commands of people who look after deployments: they ask something of the reconciler, or look back.

Each imports what it needs when it is called.
"""

import json
import os
import pwd
import sys
import time
from datetime import UTC, datetime
from typing import Annotated

import typer

from reconciler.cli.exit import FAILED, MISUSED, need_root, refuse
from reconciler.cli.times import MomentError, after, moment
from reconciler.core.operators.requests import MAX_WHO, MAX_WHY, Request, Verb
from reconciler.core.text.quote import one_line
from reconciler.core.units.names import why_not_deployable

app = typer.Typer()

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of a deployment, as reconciler status shows it.")]
Json = Annotated[bool, typer.Option("--json", help="Print data for programs.")]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, for whoever looks at it later.")]


@app.command()
def suspend(
    name: Name,
    why: Why = "",
    span: Annotated[str, typer.Option("--for", metavar="SPAN", help="How long, such as 30m, 2h or 1d.")] = "",
    until: Annotated[str, typer.Option("--until", metavar="MOMENT", help="Until when: 2026-11-30T18:00.")] = "",
    as_json: Json = False,
) -> None:
    """Leave a deployment alone, whatever happens to it or in the registry, until it is resumed."""
    _check_name(Verb.SUSPEND, name)
    if span and until:
        refuse(f"cannot suspend {name}: it was said for how long and until when; say one of them", MISUSED)
    try:
        end = after(span, datetime.now(UTC)) if span else moment(until) if until else None
    except MomentError as error:
        refuse(f"cannot suspend {name}: {error}; see reconciler suspend --help", MISUSED)
    _ask(Request(verb=Verb.SUSPEND, name=name, by=_who(), why=one_line(why, MAX_WHY), until=end), as_json)


@app.command()
def resume(name: Name, as_json: Json = False) -> None:
    """Look after a suspended deployment again."""
    _check_name(Verb.RESUME, name)
    _ask(Request(verb=Verb.RESUME, name=name, by=_who()), as_json)


@app.command()
def retry(name: Name, as_json: Json = False) -> None:
    """Try again what failed of a deployment, or what was left to a person."""
    _check_name(Verb.RETRY, name)
    _ask(Request(verb=Verb.RETRY, name=name, by=_who()), as_json)


@app.command()
def rollback(
    name: Name,
    to: Annotated[
        int | None, typer.Option("--to", metavar="VERSION", min=1, max=9_999_999_999, help="A version that is kept.")
    ] = None,
    why: Why = "",
    as_json: Json = False,
) -> None:
    """Go back to the release that proved itself before this one, though the registry selects this one."""
    _check_name(Verb.ROLLBACK, name)
    _ask(Request(verb=Verb.ROLLBACK, name=name, by=_who(), why=one_line(why, MAX_WHY), version=to), as_json)


@app.command()
def rollout(
    name: Name,
    replace_files: Annotated[
        bool,
        typer.Option(
            "--replace-files",
            help="Take out of service what has the number of another model by now, remove its files, and roll out that "
            "one; requests are refused meanwhile.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Roll out anew what the registry selects, with the templates and the product of today."""
    verb = Verb.REPLACE if replace_files else Verb.ROLLOUT
    _check_name(verb, name)
    _ask(Request(verb=verb, name=name, by=_who()), as_json)


@app.command()
def apply(
    confirm_prune: Annotated[
        bool, typer.Option("--confirm-prune", help="Remove the deployments whose removal is held back.")
    ] = False,
    confirm_registry: Annotated[
        bool,
        typer.Option("--confirm-registry", help="Go by another registry, workspace or selectors than before."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Say what is held back, or confirm it. Exits 2 when something is; all else is applied unasked."""
    if confirm_prune and confirm_registry:
        refuse("cannot confirm both at once: confirm the registry first, then see what is still held back", MISUSED)
    if confirm_prune or confirm_registry:
        verb = Verb.CONFIRM_PRUNE if confirm_prune else Verb.CONFIRM_REGISTRY
        _ask(Request(verb=verb, by=_who()), as_json)
        return
    from reconciler.cli import output
    from reconciler.core.state.status import State
    from reconciler.files.status_file import NoStatusError, read_status

    try:
        deployments = read_status().deployments
    except NoStatusError as error:
        refuse(f"cannot show what is held back: {error}; see systemctl status mlflow-reconciler", FAILED)
    held = [one for one in deployments if one.state is State.HELD]
    output.held(held, as_json)
    raise typer.Exit(2 if held else 0)


@app.command()
def history(name: Name, as_json: Json = False) -> None:
    """Show what ran of a deployment and why it ended, also of one that is removed."""
    from reconciler.cli import output
    from reconciler.files.history_file import UnusableHistoryError, read_history

    need_root("show the history")
    _check_name("show the history of", name)
    try:
        runs = read_history().of(name)
    except UnusableHistoryError as error:
        refuse(f"cannot show the history: {error}; it begins anew with the next start of the reconciler", FAILED)
    output.history(name, runs, as_json)


@app.command()
def logs(
    name: Name,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    lines: Annotated[int | None, typer.Option("--lines", "-n", min=0, help="Only so many of the last ones.")] = None,
) -> None:
    """Show what the journal has about a deployment: of the reconciler, of its releases, of its servers."""
    _check_name("show the log of", name)
    arguments = ["journalctl", "--no-hostname", f"MODEL={name}"]
    arguments += ["--follow"] if follow else []
    arguments += [f"--lines={lines}"] if lines is not None else []
    sys.stdout.flush()
    try:
        os.execvp("journalctl", arguments)  # noqa: S606, S607 - no shell; the host's own program, the name is checked
    except OSError as error:
        refuse(f"cannot show the log of {name}: journalctl: {error.strerror}; install systemd's journalctl", FAILED)


def _ask(request: Request, as_json: bool) -> None:
    """Ask, and print what the reconciler says."""
    from reconciler.files.atomic import in_words
    from reconciler.files.request_client import NoAnswerError, RequestClient
    from reconciler.files.request_inbox import Answer

    need_root(request.cannot.removeprefix("cannot "), "only root may ask that of the reconciler")
    try:
        answer = RequestClient().ask(f"{time.time_ns()}-{os.getpid()}", request)
    except NoAnswerError as error:
        why = f"{request.cannot}: {error}; see systemctl status mlflow-reconciler"
        answer = Answer(schema=1, ok=False, message=why)
    except OSError as error:
        why = f"{request.cannot}: {in_words(error)}; see reconciler check"
        answer = Answer(schema=1, ok=False, message=why)
    if as_json:
        sys.stdout.write(json.dumps(answer.model_dump(by_alias=True)) + "\n")
    elif answer.ok:
        sys.stdout.write(f"{answer.message}\n")
    else:
        refuse(answer.message, FAILED)
    raise typer.Exit(0 if answer.ok else FAILED)


def _check_name(what: str, name: str) -> None:
    """A name that no deployment can have is a mistake in typing."""
    if why := why_not_deployable(name):
        words = what.words if isinstance(what, Verb) else what
        refuse(f"cannot {words} {one_line(name, 80)}: {why}; reconciler status lists the deployments", MISUSED)


def _who() -> str:
    """Who asks: the person behind sudo, or the one who logged in."""
    who = os.environ.get("SUDO_USER", "")
    if not who:
        try:
            who = os.getlogin()
        except OSError:  # no terminal
            who = _account()
    return one_line(who, MAX_WHO) or "root"


def _account() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return ""
