"""What the command prints."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reconciler.core.state.status import DeploymentStatus, State, Status
from reconciler.core.text.quote import one_line

if TYPE_CHECKING:  # `status` is asked often, by programs too: it does not wait for what checks and plans import
    from reconciler.check.installation import Finding
    from reconciler.core.planner.plan import Plan
    from reconciler.core.state.history import Run

UNFOLDED = 10_000
"""Columns where no terminal folds: whoever reads a pipe gets one line for each deployment."""

MAX_SHOWN = 2000
"""Characters of one sentence."""

_COLOURS = {
    State.SERVING: "green",
    State.IDLE: "green",
    State.FAILED: "red",
    State.STALLED: "red",
    State.DEGRADED: "yellow",
    State.HELD: "yellow",
    State.NOT_DEPLOYABLE: "yellow",
}


def status(document: Status, as_json: bool) -> None:
    """Print the deployments as a table, or the document."""
    if as_json:
        sys.stdout.write(document.model_dump_json(by_alias=True, indent=1) + "\n")
        return
    console = _console()
    registry = document.registry
    if registry.reachable:
        console.print(Text(f"{one_line(document.host)}: the registry was read {_age(registry.read_at)} ago"))
    else:
        console.print(Text(one_line(f"{document.host}: the registry is not reachable; {registry.message}"), "yellow"))
    if document.trouble:
        console.print(Text(one_line(document.trouble, MAX_SHOWN), "red"))
    if not document.deployments:
        console.print("nothing is deployed")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("NAME", "STATE", "WANTED", "ACTIVE", "SINCE", "URL", "MESSAGE"):
        table.add_column(heading, overflow="fold", no_wrap=heading not in ("NAME", "MESSAGE"))
    for one in document.deployments:
        table.add_row(
            Text(one_line(one.name)),
            Text(one.state, _COLOURS.get(one.state, "")),
            one.desired_version or "-",
            one.active_version or "-",
            _age(one.since),
            one.url or "-",
            Text(one_line(one.message)),
        )
    console.print(table)


def plan(decided: "Plan", under_way: Sequence[str], as_json: bool) -> None:
    """Print the actions in their order, and the units that are `under_way`; what follows is decided afterwards."""
    if as_json:
        actions = [
            {"do": action.verb, "unit": action.unit, "deployment": action.deployment} for action in decided.actions
        ]
        document = {"schema": 1, "actions": actions, "under_way": list(under_way)}
        sys.stdout.write(json.dumps(document, indent=1) + "\n")
        return
    for number, action in enumerate(decided.actions, 1):
        sys.stdout.write(f"{number}. {one_line(str(action), MAX_SHOWN)}\n")
    if under_way:
        sys.stdout.write(f"being done: {', '.join(under_way)}\n")
    elif not decided.actions:
        sys.stdout.write("nothing to do\n")


def history(name: str, runs: "Sequence[Run]", as_json: bool) -> None:
    """Print what ran of a deployment, the latest last."""
    if as_json:
        rows = [run.model_dump(mode="json", exclude={"name"}) for run in runs]
        sys.stdout.write(json.dumps({"schema": 1, "name": name, "runs": rows}, indent=1) + "\n")
        return
    if not runs:
        sys.stdout.write(f"nothing of {name} ran here as far back as is remembered\n")
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("VERSION", "RELEASE", "BEGAN", "ENDED", "WHY"):
        table.add_column(heading, overflow="fold", no_wrap=heading != "WHY")
    for run in runs:
        began = _moment(run.began) if run.began else "never served"
        ended = _moment(run.ended) if run.ended else "serves"
        table.add_row(str(run.version), run.release, began, ended, Text(one_line(run.why)))
    _console().print(table)


def held(deployments: Sequence[DeploymentStatus], as_json: bool) -> None:
    """Print what is held back; each sentence ends with what to type."""
    if as_json:
        rows = [{"name": one.name, "message": one.message} for one in deployments]
        sys.stdout.write(json.dumps({"schema": 1, "held": rows}, indent=1) + "\n")
        return
    for one in deployments:
        sys.stdout.write(f"{one_line(one.name)}: {one_line(one.message, MAX_SHOWN)}\n")
    if not deployments:
        sys.stdout.write("nothing is held back; what the registry selects is applied without being asked\n")


def findings(found: "Sequence[Finding]", opened: Sequence[str], as_json: bool) -> None:
    """Print what is wrong and how to mend it, and what the settings open."""
    if as_json:
        rows = [{"what": finding.what, "mend": finding.mend} for finding in found]
        sys.stdout.write(json.dumps({"schema": 1, "findings": rows, "opened": list(opened)}, indent=1) + "\n")
        return
    for what in opened:
        sys.stdout.write(f"opened by the settings: {what}\n")
    for finding in found:
        sys.stdout.write(f"{one_line(finding.what, MAX_SHOWN)}\n  mend: {one_line(finding.mend, MAX_SHOWN)}\n")
    if not found:
        sys.stdout.write("nothing is wrong with this installation\n")


def _console() -> Console:
    """Print text as it is: no markup, no emoji, no colours by what it looks like."""
    width = None if sys.stdout.isatty() else UNFOLDED
    return Console(width=width, markup=False, emoji=False, highlight=False)


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def _age(moment: datetime | None) -> str:
    if moment is None:
        return "some time"
    seconds = max(0, int((datetime.now(UTC) - moment).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
