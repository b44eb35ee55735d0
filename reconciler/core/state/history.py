"""What ran when, and why it ended: the runs of all deployments, as far back as they are remembered."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from reconciler.core.state.ledger import Words
from reconciler.core.text.quote import one_line
from reconciler.core.units.names import DeployableName, ReleaseId, StrictReleaseId

MAX_RUNS = 1000
MAX_RUNS_OF_ONE = 200
"""So that one that comes and goes does not push the others out."""
MAX_WHY = 1000
LATELY = timedelta(minutes=10)
"""A release that ended within this time before it is rejected ended because of what it is rejected for."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Run(_Strict):
    """One release in service, or one that was rejected before it got there."""

    name: DeployableName
    release: StrictReleaseId
    version: int
    began: AwareDatetime | None
    """When it was first seen to serve; None when it never did."""
    ended: AwareDatetime | None = None
    """None while it serves."""
    why: Words = ""
    """Why it ended, or why it will."""


class History(_Strict):
    """The runs of every deployment, in the order in which they began or failed."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    runs: tuple[Run, ...] = ()
    rejected: dict[DeployableName, tuple[StrictReleaseId, ...]] = {}
    """Rejections that have been taken note of."""

    def of(self, name: str) -> tuple[Run, ...]:
        """The runs of one deployment."""
        return tuple(run for run in self.runs if run.name == name)


def observed(
    history: History,
    active: Mapping[str, ReleaseId | None],
    why_ended: Mapping[str, str],
    rejected: Mapping[str, Sequence[tuple[ReleaseId, str]]],
    now: datetime,
) -> History:
    """Take note of what a pass saw; the same object when that is nothing new.

    `active` is the release that serves of each deployment; one that is missing serves none. `why_ended` may say why
    what served before does not any more. `rejected` is all that is rejected now, each with the reason; what is new in
    it is found here, so that nothing is lost when a pass is interrupted.
    """
    reasons = {(name, release): one_line(why, MAX_WHY) for name, all_ in rejected.items() for release, why in all_}
    runs = [_followed(run, active, why_ended, reasons, now) for run in history.runs]
    known = {(name, release) for name, releases in history.rejected.items() for release in releases}
    for (name, release), why in reasons.items():
        if (name, release) not in known:
            _note_rejection(runs, name, release, why, now)
    serving = {(run.name, run.release) for run in runs if run.began and not run.ended}
    for name, active_release in active.items():
        if active_release and (name, active_release) not in serving:
            runs.append(_run(name, active_release, began=now))
    seen = {name: tuple(release for release, _ in all_) for name, all_ in rejected.items() if all_}
    if tuple(runs) == history.runs and seen == history.rejected:
        return history
    return History(schema=1, runs=_capped(runs), rejected=seen)


def _run(name: str, release: ReleaseId, began: datetime | None, ended: datetime | None = None, why: str = "") -> Run:
    return Run(name=name, release=release, version=release.version, began=began, ended=ended, why=why)


def _followed(
    run: Run,
    active: Mapping[str, ReleaseId | None],
    why_ended: Mapping[str, str],
    reasons: Mapping[tuple[str, ReleaseId], str],
    now: datetime,
) -> Run:
    """What became of a run: it goes on, with or without a reason to end soon, or it has ended."""
    if run.ended is not None or run.began is None:
        return run
    rejection = reasons.get((run.name, run.release), "")
    successor = active.get(run.name)
    if successor == run.release:
        return run if run.why == rejection else run.model_copy(update={"why": rejection})
    plainly = f"version {successor.version} took over" if successor else "it does not serve any more"
    why = rejection or run.why or one_line(why_ended.get(run.name, ""), MAX_WHY) or plainly
    return run.model_copy(update={"ended": max(now, run.began), "why": why})


def _note_rejection(runs: list[Run], name: str, release: ReleaseId, why: str, now: datetime) -> None:
    """Give the reason to the run that it ends or has just ended; a release that did not serve gets a row of its own."""
    for number in reversed(range(len(runs))):
        run = runs[number]
        if run.name == name:
            if run.release == release and run.began and now - (run.ended or now) <= LATELY:
                runs[number] = run.model_copy(update={"why": why})
                return
            break
    runs.append(_run(name, release, began=None, ended=now, why=why))


def _capped(runs: Sequence[Run]) -> tuple[Run, ...]:
    """Forget what ended first, of a deployment with many runs and then of all; what still serves stays."""
    counts: dict[str, int] = {}
    left: list[Run] = []
    for run in reversed(runs):
        counts[run.name] = counts.get(run.name, 0) + 1
        if counts[run.name] <= MAX_RUNS_OF_ONE or run.ended is None:
            left.append(run)
    surplus = sorted((run.ended, -number) for number, run in enumerate(left) if run.ended)[
        : max(0, len(left) - MAX_RUNS)
    ]
    gone = {-number for _, number in surplus}
    return tuple(run for number, run in reversed(list(enumerate(left))) if number not in gone)
