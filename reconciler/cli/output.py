"""What the commands print; status/ has what `reconciler status` does."""

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from reconciler.cli.table import folded_table, table
from reconciler.cli.terminal import MAX_SHOWN, width
from reconciler.cli.times import local_time
from reconciler.core.state.status import DeploymentStatus
from reconciler.core.text.quote import one_line

if TYPE_CHECKING:  # programs ask for `status` often: it does not wait for what checks and plans import
    from reconciler.check.host import Finding
    from reconciler.check.pythons import Pythons
    from reconciler.core.state.audited_runs import AuditedRun
    from reconciler.core.state.history import Run


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
        began = local_time(run.began) if run.began else "never served"
        ended = local_time(run.ended) if run.ended else "serves"
        lines.append((str(run.version), run.release, began, ended, one_line(run.why)))
    headings = ("VERSION", "RELEASE", "BEGAN", "ENDED", "WHY")
    sys.stdout.writelines(f"{line}\n" for line in folded_table(headings, lines, width()))


def moment(runs: "Sequence[AuditedRun]") -> None:
    """Print the releases that served at one moment, with what tells their files from others."""
    lines = []
    for run in runs:
        began, origin = run.began, run.began.origin
        ended = local_time(run.ended) if run.ended else "serves"
        files = origin.files[:12] if origin and origin.files else "-"
        lines.append((began.name or "", str(began.version), str(began.release), local_time(began.at), ended, files))
    headings = ("NAME", "VERSION", "RELEASE", "BEGAN", "ENDED", "FILES")
    sys.stdout.writelines(f"{line}\n" for line in table(headings, lines, None))


def held_deployments(deployments: Sequence[DeploymentStatus], as_json: bool) -> None:
    """Print the deployments that wait for confirmation; each message ends with the command that confirms it."""
    if as_json:
        rows = [{"name": deployment.name, "message": deployment.message} for deployment in deployments]
        sys.stdout.write(json.dumps({"schema": 1, "held": rows}, indent=1) + "\n")
        return
    for deployment in deployments:
        sys.stdout.write(f"{one_line(deployment.name)}: {one_line(deployment.message, MAX_SHOWN)}\n")
    if not deployments:
        sys.stdout.write("nothing waits for confirmation\n")


def findings(
    found: "Sequence[Finding]",
    opened: Sequence[str],
    known: "Pythons | None",
    as_json: bool,
    unenforced: Sequence[str] = (),
) -> None:
    """Print each fault with what mends it, what the settings open, and the Pythons that models may have.

    `unenforced`: limits that do nothing on this host.
    """
    if as_json:
        rows = [{"what": finding.what, "mend": finding.mend} for finding in found]
        versions = {"here": list(known.here), "downloads": list(known.downloads)} if known else None
        document = {"schema": 1, "findings": rows, "opened": list(opened), "unenforced": list(unenforced)}
        document["pythons"] = versions
        sys.stdout.write(json.dumps(document, indent=1) + "\n")
        return
    if known:
        more = f", and by download {', '.join(known.downloads)}" if known.downloads else ""
        sys.stdout.write(f"Python for models: {', '.join(known.here) or 'none'} on this host{more}\n")
    for what in opened:
        sys.stdout.write(f"opened by the settings: {what}\n")
    for limit in unenforced:
        sys.stdout.write(f"note: {limit}\n")
    for finding in found:
        sys.stdout.write(f"{one_line(finding.what, MAX_SHOWN)}\n  mend: {one_line(finding.mend, MAX_SHOWN)}\n")
    if not found:
        sys.stdout.write("nothing is wrong with this installation\n")
