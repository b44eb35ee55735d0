"""Prints a plan for people: a diff of units and files by deployment, what follows it, and what waits."""

import sys
from collections.abc import Iterator

from reconciler.cli.terminal import MAX_SHOWN, hang, paint, width
from reconciler.core.state.plan_document import DeploymentChange, ShownPlan, UnitChange, Waiting
from reconciler.core.text.quote import one_line

COLUMNS = 80
"""Where the output is no terminal: people read plans in tickets and mails, too."""
_COLOURS = {"+": "green", "~": "yellow", "-": "red"}
_NEVER_READ = "nothing is planned: this host never read the registry; see reconciler check"


def print_plan(plan: ShownPlan) -> None:
    """Print a plan. Only words that are longer than a line make it wider than the terminal."""
    for line in _lines(plan, width() or COLUMNS):
        sys.stdout.write(f"{line}\n")


def _lines(plan: ShownPlan, size: int) -> Iterator[str]:
    if plan.by == "command":
        yield from _wrap("the reconciler was not asked; this is what it would do after a start", "", size)
    done_now = [one for one in plan.deployments if not one.waits_for_apply]
    for deployment in done_now:
        yield from _deployment(deployment, size)
    if plan.shared:
        yield "shared by deployments, and the host"
        for change in plan.shared:
            yield from _change(change, size)
    if plan.waits:
        yield "waits"
        for waiting in plan.waits:
            yield from _wrap(_why(waiting), "  ", size)
            if waiting.then:
                yield from _wrap(f"then: {one_line(', '.join(waiting.then), MAX_SHOWN)}", "    ", size)
    for deployment in plan.deployments:
        if deployment.waits_for_apply:
            yield from _deployment(deployment, size)
    yield from _wrap(_end(plan), "", size)


def _end(plan: ShownPlan) -> str:
    """Return the last line, which tells what a person may do."""
    if not plan.registry_read:
        return _NEVER_READ
    if plan.id:
        return f"plan {plan.id} waits: reconciler apply {plan.id} carries it out"
    counts = [len(one.changes) for one in plan.deployments]
    changes = sum(counts) + len(plan.shared)
    if changes:
        return f"{changes} {'change' if changes == 1 else 'changes'}, which the reconciler makes by itself"
    return "nothing to do before what is under way has ended" if plan.under_way else "nothing to do"


def _deployment(deployment: DeploymentChange, size: int) -> Iterator[str]:
    yield _heading(deployment)
    # Whoever says yes to a version says yes to these files.
    if deployment.source and deployment.waits_for_apply:
        yield from _wrap(f"from {one_line(deployment.source, MAX_SHOWN)}", "  ", size)
    for change in deployment.changes:
        yield from _change(change, size)
    for unit in deployment.under_way:
        yield from _wrap(f"under way: {one_line(unit)}", "  ", size)
    if deployment.then:
        yield from _wrap(f"then: {one_line(', '.join(deployment.then), MAX_SHOWN)}", "  ", size)


def _heading(deployment: DeploymentChange) -> str:
    active, desired = deployment.active_version, deployment.desired_version
    if desired is None:
        what = f"remove version {active}" if active else "remove"
    elif active == desired:
        what = f"version {active}"
    else:
        what = f"version {desired} in place of version {active}" if active else f"version {desired}, new"
    waits = ", waits for reconciler apply" if deployment.waits_for_apply else ""
    return f"{one_line(deployment.name)}: {what}{waits}"


def _change(change: UnitChange, size: int) -> Iterator[str]:
    about = f"{one_line(change.unit)}: " if change.unit else ""
    models = ""
    if change.models is not None:
        models = f" (environment of {', '.join(change.models)})" if change.models else " (environment of no model)"
    first, *others = _wrap(f"{about}{one_line(change.what, MAX_SHOWN)}{models}", f"  {change.sign} ", size)
    yield first.replace(change.sign, paint(change.sign, _COLOURS[change.sign]), 1)
    yield from others


def _why(waiting: Waiting) -> str:
    due = (
        f"; tried {waiting.tries} times, again at {waiting.retry_at.astimezone():%H:%M:%S}" if waiting.retry_at else ""
    )
    message = f": {one_line(waiting.message, MAX_SHOWN)}" if waiting.message else ""
    return f"{one_line(waiting.name)}: {waiting.state}{message}{due}"


def _wrap(text: str, begin: str, size: int) -> list[str]:
    """Fold a sentence at blanks only: names and commands are copied."""
    return hang(begin, text, size, " " * (len(begin) + 2))
