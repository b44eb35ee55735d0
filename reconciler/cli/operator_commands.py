"""The commands of operators that send a request to the reconciler; history.py and logs.py show what happened.

Each imports what it needs when it is called: `reconciler status` should not wait for what other commands import.
"""

import json
import os
import pwd
import re
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from reconciler.cli.exit import FAILED, MISUSED, WAITING, become_the_reconciler, refuse
from reconciler.cli.known import complete
from reconciler.cli.times import MomentError, moment_after, parse_moment
from reconciler.core.operators.verbs import Verb
from reconciler.core.text.quote import one_line
from reconciler.core.units.names import MAX_VERSION, why_not_deployable

if TYPE_CHECKING:  # see above
    from reconciler.core.operators.requests import Request
    from reconciler.files.request_answer import RequestAnswer

app = typer.Typer()

Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="The deployment, as reconciler status shows it.", autocompletion=complete),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Why = Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, for people who look at it later.")]


@app.command()
def suspend(
    name: Name,
    why: Why = "",
    span: Annotated[str, typer.Option("--for", metavar="SPAN", help="How long: 30m, 2h or 1d.")] = "",
    until: Annotated[str, typer.Option("--until", metavar="MOMENT", help="Until when: 2026-11-30T18:00.")] = "",
    as_json: Json = False,
) -> None:
    """Suspend a deployment: the reconciler changes and repairs nothing of it until the suspension ends."""
    check_name(Verb.SUSPEND.words, name)
    if span and until:
        refuse(f"cannot suspend {name}: both --for and --until are given; give one of them", MISUSED)
    try:
        end = _end_of_suspension(span, until)
    except MomentError as error:
        refuse(f"cannot suspend {name}: {error}; see reconciler suspend --help", MISUSED)
    _ask_about(name, Verb.SUSPEND, as_json, why=why, until=end)


@app.command()
def resume(name: Name, as_json: Json = False) -> None:
    """End the suspension of a deployment."""
    _ask_about(name, Verb.RESUME, as_json)


@app.command()
def retry(name: Name, as_json: Json = False) -> None:
    """Try again at once what failed for a deployment, also if it is stalled or its release was rejected."""
    _ask_about(name, Verb.RETRY, as_json)


@app.command()
def rollback(
    name: Name,
    to: Annotated[
        int | None,
        typer.Option(
            "--to", metavar="VERSION", min=1, max=MAX_VERSION, help="A version whose release is kept on this host."
        ),
    ] = None,
    why: Why = "",
    as_json: Json = False,
) -> None:
    """Serve the previous good release, even though the registry selects the current one."""
    _ask_about(name, Verb.ROLLBACK, as_json, why=why, version=to)


@app.command()
def rollout(
    name: Name,
    replace_files: Annotated[
        bool,
        typer.Option(
            "--replace-files",
            help="Where the registry has another model under a number that this host has files of: stop serving these "
            "files, remove them, and roll out the other model. Requests are refused meanwhile.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Roll out the selected version anew, with the current templates and the installed product."""
    _ask_about(name, Verb.REPLACE if replace_files else Verb.ROLLOUT, as_json)


@app.command()
def apply(
    plan: Annotated[
        str,
        typer.Argument(metavar="PLAN", help="Carry out this plan, which reconciler plan named.", show_default=False),
    ] = "",
    confirm_prune: Annotated[
        bool, typer.Option("--confirm-prune", help="Remove the deployments whose removal waits for confirmation.")
    ] = False,
    confirm_registry: Annotated[
        bool,
        typer.Option("--confirm-registry", help="Accept another registry, workspace or selectors than before."),
    ] = False,
    as_json: Json = False,
) -> None:
    """List the changes that wait for confirmation (exit 2 if any), or confirm them.

    All other changes apply automatically, unless reconcile.mode is "confirm": then they wait, too, and reconciler plan
    shows them and names the PLAN.
    """
    if plan:
        _apply_plan(plan, as_json, has_others=confirm_prune or confirm_registry)
    # One after the other: which removals wait depends on the registry that is confirmed.
    if confirm_prune and confirm_registry:
        refuse("cannot confirm both at once: confirm the registry first, then list what still waits", MISUSED)
    if confirm_prune or confirm_registry:
        verb = Verb.CONFIRM_PRUNE if confirm_prune else Verb.CONFIRM_REGISTRY
        from reconciler.core.operators.requests import Request

        _ask(Request(verb=verb, by=who()), as_json)
    else:
        _list_held(as_json)


def _apply_plan(plan: str, as_json: bool, *, has_others: bool) -> NoReturn:
    """Ask for a plan that was shown to be carried out, and end the command."""
    from reconciler.core.operators.requests import Request
    from reconciler.core.state.plan_document import PLAN_ID_PATTERN

    if has_others:
        refuse("cannot confirm both at once: apply the plan without an option", MISUSED)
    if re.fullmatch(PLAN_ID_PATTERN, plan) is None:
        shown = one_line(plan, 80)
        refuse(f"cannot apply {shown!r}: it is no plan's name; copy the one that reconciler plan shows", MISUSED)
    _ask(Request(verb=Verb.APPLY, plan=plan, by=who()), as_json)


def _list_held(as_json: bool) -> NoReturn:
    """List the deployments that wait for confirmation, and end the command with 2 if there are any."""
    from reconciler.cli import output
    from reconciler.core.state.status import State
    from reconciler.files.status_file import NoStatusError, read_status

    try:
        deployments = read_status().deployments
    except NoStatusError as error:
        refuse(f"cannot list what waits for confirmation: {error}; see systemctl status mlflow-reconciler", FAILED)
    held = [deployment for deployment in deployments if deployment.state is State.HELD]
    output.held_deployments(held, as_json)
    raise typer.Exit(WAITING if held else 0)


def _end_of_suspension(span: str, until: str) -> datetime | None:
    """Return when a suspension ends; None when only `resume` ends it. Raises MomentError."""
    if span:
        return moment_after(span, datetime.now(UTC))
    return parse_moment(until) if until else None


def _ask_about(
    name: str, verb: Verb, as_json: bool, *, why: str = "", version: int | None = None, until: datetime | None = None
) -> None:
    """Check the name before the reconciler is asked, then ask it about this deployment."""
    from reconciler.core.operators.requests import MAX_WHY, Request

    check_name(verb.words, name)
    _ask(Request(verb=verb, name=name, by=who(), why=one_line(why, MAX_WHY), version=version, until=until), as_json)


def send(request: "Request") -> "RequestAnswer":
    """Send a request, and return the answer; the command ends where others than root run it."""
    from reconciler.files.atomic import in_words
    from reconciler.files.request_answer import RequestAnswer
    from reconciler.files.request_client import NoAnswerError, RequestClient

    become_the_reconciler(request.cannot.removeprefix("cannot "), "only root may ask that of the reconciler")
    try:
        # Ids are served in their order, so they begin with the time.
        return RequestClient().ask(f"{time.time_ns()}-{os.getpid()}", request)
    except NoAnswerError as error:
        why = f"{request.cannot}: {error}; see systemctl status mlflow-reconciler"
    except OSError as error:
        why = f"{request.cannot}: {in_words(error)}; see reconciler check"
    return RequestAnswer(schema=1, ok=False, message=why)


def _ask(request: "Request", as_json: bool) -> NoReturn:
    """Send a request, print the answer, and end with 0 if the reconciler did it, else 1."""
    answer = send(request)
    if as_json:
        sys.stdout.write(json.dumps(answer.model_dump(by_alias=True)) + "\n")
    elif answer.ok:
        sys.stdout.write(f"{answer.message}\n")
    else:
        refuse(answer.message, FAILED)
    raise typer.Exit(0 if answer.ok else FAILED)


def check_name(words: str, name: str) -> None:
    """End the command if no deployment can have this name: it was mistyped. `words` follow "cannot"."""
    why = why_not_deployable(name)
    if why:
        refuse(f"cannot {words} {one_line(name, 80)}: {why}; reconciler status lists the deployments", MISUSED)


def who() -> str:
    """Name the person who asks: the one behind sudo, else the one who logged in, else this process's account."""
    from reconciler.core.operators.requests import MAX_WHO

    return one_line(os.environ.get("SUDO_USER", "") or _login_name(), MAX_WHO) or "root"


def _login_name() -> str:
    try:
        return os.getlogin()
    except OSError:  # no terminal, as under a timer
        pass
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a user of this process only, which no list of users has
        return ""
