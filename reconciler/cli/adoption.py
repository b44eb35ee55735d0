"""`reconciler adopt`: a deployment takes over from a unit made by hand, and gives back.

The old unit is found, kept, stopped and put back here. Who answers meanwhile is the reconciler's business: it has the
bridge to NATS stand beside the old unit first (docs/adr/0030). Each step can be done again: a command that was
interrupted goes on where it was.
"""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import typer

from reconciler.cli.exit import FAILED, MISUSED, need_root, refuse
from reconciler.cli.operator_commands import check_name, send, who
from reconciler.core.operators.requests import Request
from reconciler.core.operators.verbs import Verb
from reconciler.core.state.status import DeploymentStatus, State
from reconciler.core.units import names, paths, status_lines
from reconciler.files.made_by_hand_file import BackupError, find, keep, kept, put_back, take_away

PATIENCE = 120.0
"""Seconds for the reconciler, and for the old unit, to do one thing."""
SERVES = (State.SERVING, State.IDLE, State.ROLLING_OUT, State.HELD)


def change(name: str, yes: bool, undo: bool) -> None:
    """Adopt the unit, or give back with `undo`; the command ends where that cannot be done."""
    check_name("adopt", name)
    need_root(f"adopt {name}", "it stops and starts units")
    (_give_back if undo else _adopt)(name, yes)


def _adopt(name: str, yes: bool) -> None:
    unit, directory = names.compose_unit(name), _backup(name)
    found = find(unit) or (kept(directory) if directory.exists() else None)
    if found is None:
        refuse(f"cannot adopt {name}: this host has no {unit}; see systemctl list-units 'docker-compose*'", FAILED)
    deployment = _ready_deployment(name)
    where = f", which works in {found.directory}" if found.directory else ""
    _say(f"{name} is answered over NATS by {unit}, made by hand{where}.")
    _say(f"1. keep a copy of it in {directory}")
    _say(f"2. {names.bridge_unit(name)} takes requests beside it, and answers those that it leaves unanswered")
    _say(f"3. stop {unit}, and take it out of {paths.UNIT_DIRECTORY}; nothing in {found.directory or 'it'} changes")
    _say(f"4. {names.bridge_unit(name)} answers all requests, with version {deployment.active_version} of {name}")
    _say(f"To undo it: reconciler adopt {name} --undo")
    _confirm(yes)
    try:
        if find(unit) is not None:
            keep(found, directory)
        _ask(name, Verb.ADOPT)
        if _is_up(unit):
            _wait_for_line(name, (status_lines.BESIDE,))
            _run("systemctl", "stop", unit)
        take_away(found)
    except (BackupError, OSError) as error:
        refuse(f"cannot adopt {name}: {error}; mend it and run the command again", FAILED)
    _run("systemctl", "daemon-reload")
    _wait_for_line(name, (status_lines.CONNECTED,))
    _say(f"{name} answers over NATS by itself; {unit} is kept in {directory}")


def _give_back(name: str, yes: bool) -> None:
    unit, directory = names.compose_unit(name), _backup(name)
    try:
        found = kept(directory)
    except (BackupError, OSError) as error:
        refuse(f"cannot give back {name}: {error}; see whether it was adopted on this host", FAILED)
    _say(f"1. {names.bridge_unit(name)} leaves requests to {unit} from now on, and answers those that it does not")
    _say(f"2. put {unit} back as it was, and start it")
    _say(f"3. when it has answered a request, {names.bridge_unit(name)} ends")
    _confirm(yes)
    _ask(name, Verb.GIVE_BACK)
    _wait_for_line(name, (status_lines.BESIDE,))
    before = status_lines.read_answered_by_other(_line(name))
    try:
        put_back(found)
    except OSError as error:
        refuse(f"cannot give back {name}: {error}; mend it and run the command again", FAILED)
    _run("systemctl", "daemon-reload")
    _run("systemctl", "start", unit)
    _say(f"{unit} is started; waiting for a request that it answers (interrupt and run the command again later)")
    _wait(lambda: status_lines.read_answered_by_other(_line(name)) > before, f"{unit} to answer a request", 3600)
    _ask(name, Verb.GIVEN_BACK)
    _wait(lambda: not _line(name), f"{names.bridge_unit(name)} to end", PATIENCE)
    shutil.rmtree(directory)
    _say(f"{unit} answers over NATS again")


def _backup(name: str) -> Path:
    return Path(paths.STATE_DIRECTORY, "adopted", name)


def _ready_deployment(name: str) -> DeploymentStatus:
    """Return the deployment if it could answer now; end the command otherwise."""
    deployment = _deployment(name)
    if deployment is None:
        refuse(
            f"cannot adopt {name}: it is not deployed here; promote it in MLflow and list it in policy.names", FAILED
        )
    if deployment.state not in SERVES or deployment.active_version is None:
        refuse(f"cannot adopt {name}: it does not serve ({deployment.state}); see reconciler status", FAILED)
    has_broker = bool(deployment.nats) or "NATS: " in deployment.message
    if not has_broker:
        refuse(f"cannot adopt {name}: nobody said which broker it has; set deploy.brokers in config.toml", FAILED)
    return deployment


def _deployment(name: str) -> DeploymentStatus | None:
    from reconciler.files.status_file import NoStatusError, read_status

    try:
        deployments = read_status().deployments
    except NoStatusError as error:
        refuse(f"cannot see the status: {error}; see systemctl status mlflow-reconciler", FAILED)
    return next((deployment for deployment in deployments if deployment.name == name), None)


def _line(name: str) -> str:
    deployment = _deployment(name)
    return deployment.nats if deployment else ""


def _ask(name: str, verb: Verb) -> None:
    answer = send(Request(verb=verb, name=name, by=who()))
    if not answer.ok:
        refuse(answer.message, FAILED)


def _wait_for_line(name: str, beginnings: tuple[str, ...]) -> None:
    what = f"{names.bridge_unit(name)} to say {beginnings[0]!r}"
    _wait(lambda: _line(name).startswith(beginnings), what, PATIENCE)


def _wait(condition: Callable[[], bool], what: str, seconds: float) -> None:
    ends = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > ends:
            refuse(f"cannot go on: waited {seconds:.0f} s for {what}; see reconciler status, then run it again", FAILED)
        time.sleep(0.2)


def _is_up(unit: str) -> bool:
    state = _run("systemctl", "show", "--property=ActiveState", "--value", unit)
    return state.strip() not in ("inactive", "failed")


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)  # noqa: S603 - fixed words and a checked name
    if done.returncode:
        refuse(f"cannot go on: {' '.join(command)}: {done.stderr.strip()}; mend it and run the command again", FAILED)
    return done.stdout


def _confirm(yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        refuse("nothing was done; give --yes to do it", MISUSED)
    if not typer.confirm("Do it?"):
        _stop()


def _stop() -> NoReturn:
    _say("nothing was done")
    raise typer.Exit(0)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
