"""What the command prints."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from reconciler.cli.table import print_line, print_table
from reconciler.core.state.status import DeploymentStatus, State, Status
from reconciler.core.text.quote import one_line

if TYPE_CHECKING:  # programs ask for `status` often: it does not wait for what checks and plans import
    from reconciler.check.host import Finding
    from reconciler.check.pythons import Pythons
    from reconciler.core.planner.plan import Plan
    from reconciler.core.state.history import Run

MAX_SHOWN = 2000
"""Characters of one sentence."""

_COLOURS: dict[str, str] = {
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
    _print_head(document)
    if not document.deployments:
        print_line("nothing is deployed")
        return
    headings = ("NAME", "STATE", "WANTED", "ACTIVE", "SINCE", "URL", "MESSAGE")
    rows = [_row(deployment) for deployment in document.deployments]
    # Only names and messages may be broken into lines: people copy the rest.
    print_table(headings, rows, ("NAME", "MESSAGE"), _COLOURS)


def _print_head(document: Status) -> None:
    """Print when the registry was read, and what is wrong on the whole host."""
    registry = document.registry
    if registry.reachable:
        print_line(f"{one_line(document.host)}: the registry was read {_age(registry.read_at)} ago")
    else:
        print_line(one_line(f"{document.host}: the registry is not reachable; {registry.message}"), "yellow")
    if document.trouble:
        print_line(one_line(document.trouble, MAX_SHOWN), "red")


def _row(deployment: DeploymentStatus) -> Sequence[str]:
    return (
        one_line(deployment.name),
        deployment.state.value,
        deployment.desired_version or "-",
        deployment.active_version or "-",
        _age(deployment.since),
        deployment.url or "-",
        one_line(_message(deployment)),
    )


def _message(deployment: DeploymentStatus) -> str:
    """Return a deployment's message, with what its bridge to NATS says, if it has one and that is not in it already."""
    is_told = "NATS: " in deployment.message
    nats = f"NATS: {deployment.nats}" if deployment.nats and not is_told else ""
    return "; ".join(filter(None, (deployment.message, nats)))


def plan(decided: "Plan", under_way: Sequence[str], as_json: bool) -> None:
    """Print the actions in their order, and the units that are `under_way`, whose end decides what follows."""
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
        sys.stdout.write(f"under way: {', '.join(under_way)}\n")
    elif not decided.actions:
        sys.stdout.write("nothing to do\n")


def history(name: str, runs: "Sequence[Run]", as_json: bool) -> None:
    """Print the releases of a deployment that served, the latest last."""
    if as_json:
        rows = [run.model_dump(mode="json", exclude={"name"}) for run in runs]
        sys.stdout.write(json.dumps({"schema": 1, "name": name, "runs": rows}, indent=1) + "\n")
        return
    if not runs:
        sys.stdout.write(f"no release of {name} served here, as far back as the history goes\n")
        return
    lines = []
    for run in runs:
        began = _local_time(run.began) if run.began else "never served"
        ended = _local_time(run.ended) if run.ended else "serves"
        lines.append((str(run.version), run.release, began, ended, one_line(run.why)))
    print_table(("VERSION", "RELEASE", "BEGAN", "ENDED", "WHY"), lines, ("WHY",))


def held_deployments(deployments: Sequence[DeploymentStatus], as_json: bool) -> None:
    """Print the deployments that wait for confirmation; each message ends with the command that confirms it."""
    if as_json:
        rows = [{"name": deployment.name, "message": deployment.message} for deployment in deployments]
        sys.stdout.write(json.dumps({"schema": 1, "held": rows}, indent=1) + "\n")
        return
    for deployment in deployments:
        sys.stdout.write(f"{one_line(deployment.name)}: {one_line(deployment.message, MAX_SHOWN)}\n")
    if not deployments:
        sys.stdout.write("nothing waits for confirmation; all changes apply automatically\n")


def findings(found: "Sequence[Finding]", opened: Sequence[str], known: "Pythons | None", as_json: bool) -> None:
    """Print each fault with what mends it, what the settings open, and the Pythons that models may have."""
    if as_json:
        rows = [{"what": finding.what, "mend": finding.mend} for finding in found]
        versions = {"here": list(known.here), "downloads": list(known.downloads)} if known else None
        document = {"schema": 1, "findings": rows, "opened": list(opened), "pythons": versions}
        sys.stdout.write(json.dumps(document, indent=1) + "\n")
        return
    if known:
        more = f", and by download {', '.join(known.downloads)}" if known.downloads else ""
        sys.stdout.write(f"Python for models: {', '.join(known.here) or 'none'} on this host{more}\n")
    for what in opened:
        sys.stdout.write(f"opened by the settings: {what}\n")
    for finding in found:
        sys.stdout.write(f"{one_line(finding.what, MAX_SHOWN)}\n  mend: {one_line(finding.mend, MAX_SHOWN)}\n")
    if not found:
        sys.stdout.write("nothing is wrong with this installation\n")


def _local_time(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def _age(moment: datetime | None) -> str:
    if moment is None:
        return "some time"
    seconds = max(0, int((datetime.now(UTC) - moment).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
