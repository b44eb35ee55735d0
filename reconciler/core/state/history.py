"""What ran when, and why it ended: the runs of all deployments, as far back as they are remembered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from reconciler.core.state.audit import Entry
from reconciler.core.state.ledger import Words
from reconciler.core.text.quote import one_line
from reconciler.core.text.strict import StrictModel
from reconciler.core.units.names import DeployableName, ReleaseId, StrictReleaseId

MAX_RUNS = 1000
MAX_RUNS_OF_ONE = 200
"""So that one that comes and goes does not push the others out."""
MAX_END_REASON = 1000
"""Characters of the sentence that says why a run ended."""
SAME_FAILURE_WITHIN = timedelta(minutes=10)
"""A release that ended within this time before it is rejected ended because of what it is rejected for."""


class Run(StrictModel):
    """One release in service, or one that was rejected before it got there."""

    # Also of a deployment that is gone.
    name: DeployableName
    release: StrictReleaseId
    version: int
    began: AwareDatetime | None
    """When it was first seen to serve; None when it never did."""
    ended: AwareDatetime | None = None
    """None while it serves."""
    why: Words = ""
    """Why it ended, or why it will."""

    @property
    def serves(self) -> bool:
        """Whether the release serves, as far as is known: it began to, and nobody saw it end.

        A run of a release that never served has no begin, and ended when it was rejected.
        """
        return self.began is not None and self.ended is None


class History(StrictModel):
    """The runs of every deployment, in the order in which they began or failed."""

    # The form of the file: hosts are upgraded with what an earlier version wrote.
    schema_: Literal[1] = Field(default=1, alias="schema")
    runs: tuple[Run, ...] = ()
    # Not read off the runs: a run is forgotten one day, and its rejection must not be new again then.
    rejected: dict[DeployableName, tuple[StrictReleaseId, ...]] = Field(default_factory=dict)
    """Rejections that have been taken note of."""
    audited: Annotated[int, Field(ge=0)] = 0
    """The number of the latest entry for the audit log."""
    # In this file, because it is replaced as a whole: what happened and its entry are on the disk, or neither is.
    unaudited: tuple[Entry, ...] = ()
    """Entries that may not be in the log yet."""

    def of(self, name: str) -> tuple[Run, ...]:
        """Return the runs of one deployment.

        They are in the order of all runs; at most one of them, the latest that began, still serves.
        """
        return tuple(run for run in self.runs if run.name == name)


@dataclass(frozen=True)
class Sighting:
    """What a pass saw of one deployment."""

    serving: ReleaseId | None = None
    """The release that serves."""
    removal: str = ""
    """Why the deployment is being removed; empty when it is not. It explains an end that nothing else explains."""
    rejected: Mapping[ReleaseId, str] = field(default_factory=dict)
    """All releases that are rejected now, the latest last, each with the reason."""


_NOTHING = Sighting()


def observed(history: History, sightings: Mapping[str, Sighting], now: datetime) -> History:
    """Take note of what a pass saw of each deployment; the same object when that is nothing new.

    A deployment that is missing from `sightings` serves nothing, and nothing of it is rejected. Which rejections are
    new is found here, by what the history knows of them, so that none is lost when a pass is interrupted.
    """
    runs = [_followed(run, sightings.get(run.name, _NOTHING), now) for run in history.runs]
    # Rejections come before new runs: the reason belongs to the run that it has ended, which must be the latest still.
    _note_new_rejections(runs, history, sightings, now)
    _begin_runs(runs, sightings, now)
    rejected = _rejected(sightings)
    nothing_is_new = tuple(runs) == history.runs and rejected == history.rejected
    if nothing_is_new:
        return history
    # In this order: a deployment that comes and goes must not cost the others what it loses itself.
    kept = _forget_surplus(_forget_surplus_of_each(runs))
    return history.model_copy(update={"runs": kept, "rejected": rejected})


def _followed(run: Run, sighting: Sighting, now: datetime) -> Run:
    """Return what became of a run: it goes on, with or without a reason to end soon, or it has ended.

    The same object when nothing changed.
    """
    # What has ended stays as it is, except for a rejection that comes soon after: see `_note_rejection`.
    if not run.serves:
        return run
    rejection = _sentence(sighting.rejected.get(run.release, ""))
    has_ended = run.release != sighting.serving
    if has_ended:
        why = _why_ended(run, sighting, rejection)
        return run.model_copy(update={"ended": _end(run, now), "why": why})
    # A rejected release may serve on while nothing else can. If it is forgiven, the reason goes.
    if run.why == rejection:
        return run
    return run.model_copy(update={"why": rejection})


def _end(run: Run, now: datetime) -> datetime:
    """Return when a run ended that is seen not to serve any more.

    That is now, but never before it began: the clock may have been put back since.
    """
    if run.began is None:
        return now
    return max(now, run.began)


def _why_ended(run: Run, sighting: Sighting, rejection: str) -> str:
    """Say why a run has ended, with the most particular reason that is known.

    That is why its release is rejected now (`rejection`), or was when it still served; else why its deployment is
    removed; else what took its place.
    """
    particular = rejection or run.why or _sentence(sighting.removal)
    if particular:
        return particular
    successor = sighting.serving
    if successor is None:
        return "it does not serve any more"
    # After a rollout anew, or with other settings.
    other = "another release of " if successor.version == run.version else ""
    return f"{other}version {successor.version} took over"


def _note_new_rejections(runs: list[Run], history: History, sightings: Mapping[str, Sighting], now: datetime) -> None:
    """Take note in `runs` of each rejection that the history does not know.

    Those of one pass are in the order of `sightings`.
    """
    for name, sighting in sightings.items():
        known = history.rejected.get(name, ())
        new = [release for release in sighting.rejected if release not in known]
        for release in new:
            why = _sentence(sighting.rejected[release])
            _note_rejection(runs, name, release, why, now)


def _note_rejection(runs: list[Run], name: str, release: ReleaseId, why: str, now: datetime) -> None:
    """Give the reason to the run that it ends or has just ended; a release that did not serve gets a row of its own.

    Only the deployment's latest run can be that one: if another release served since, this one ended because of that.
    """
    latest = _latest(runs, name)
    if latest is not None:
        run = runs[latest]
        is_its_reason = run.release == release and _ends_or_has_just_ended(run, now)
        if is_its_reason:
            runs[latest] = run.model_copy(update={"why": why})
            return
    row = _run(name, release, began=None, ended=now, why=why)
    runs.append(row)


def _latest(runs: Sequence[Run], name: str) -> int | None:
    """Find the place of a deployment's latest run in `runs`; None when it has none.

    The latest is the last one, and the only one that may serve.
    """
    for number in reversed(range(len(runs))):
        if runs[number].name == name:
            return number
    return None


def _ends_or_has_just_ended(run: Run, now: datetime) -> bool:
    """Whether a run goes on, or ended so lately, that the rejection of its release at `now` is why it ends.

    A run whose release never served has no end that needs a reason: it was another rejection.
    """
    if run.began is None:
        return False
    if run.ended is None:
        return True
    return now - run.ended <= SAME_FAILURE_WITHIN


def _begin_runs(runs: list[Run], sightings: Mapping[str, Sighting], now: datetime) -> None:
    """Add a run for each release that serves and was not seen to serve before.

    Those that began in one pass are in the order of their names.
    """
    serving = {(run.name, run.release) for run in runs if run.serves}
    for name, sighting in sorted(sightings.items()):
        release = sighting.serving
        if release is None:
            continue
        is_known = (name, release) in serving
        if not is_known:
            row = _run(name, release, began=now)
            runs.append(row)


def _rejected(sightings: Mapping[str, Sighting]) -> dict[str, tuple[ReleaseId, ...]]:
    """Return all releases that are rejected now, by deployment.

    Deployments of which none is are left out.
    """
    rejected = {}
    for name, sighting in sightings.items():
        releases = tuple(sighting.rejected)
        if releases:
            rejected[name] = releases
    return rejected


def _sentence(why: str) -> str:
    """Make one line of a reason, which may quote the output of a foreign program."""
    return one_line(why, MAX_END_REASON)


def _run(name: str, release: ReleaseId, began: datetime | None, ended: datetime | None = None, why: str = "") -> Run:
    """Make a row of the history; without a begin, it is that of a release that never served."""
    return Run(name=name, release=release, version=release.version, began=began, ended=ended, why=why)


def _forget_surplus_of_each(runs: Sequence[Run]) -> list[Run]:
    """Forget the oldest runs of a deployment that has more than `MAX_RUNS_OF_ONE`; what still serves stays.

    The order stays.
    """
    counts: dict[str, int] = {}
    left: list[Run] = []
    # From the latest on, so that it is the oldest ones that are too many.
    for run in reversed(runs):
        count = counts.get(run.name, 0) + 1
        counts[run.name] = count
        has_room = count <= MAX_RUNS_OF_ONE
        goes_on = run.ended is None
        if has_room or goes_on:
            left.append(run)
    left.reverse()
    return left


def _forget_surplus(runs: Sequence[Run]) -> tuple[Run, ...]:
    """Forget what ended first when there are more than `MAX_RUNS` of all deployments; what still serves stays.

    So there may be more than that, if so many deployments serve.
    """
    surplus = max(0, len(runs) - MAX_RUNS)
    # What serves has no end, so it cannot be among those that go.
    ends = []
    for number, run in enumerate(runs):
        # The number decides between runs that ended at one moment, and says later which they were.
        if run.ended is not None:
            ends.append((run.ended, number))
    # By their ends, not by their order here: that is the order of their begins.
    ends.sort()
    gone = {number for _, number in ends[:surplus]}
    # What is left stays in its order.
    return tuple(run for number, run in enumerate(runs) if number not in gone)
