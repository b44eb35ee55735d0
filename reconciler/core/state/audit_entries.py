"""What becomes an entry of the audit log: what changed in the history, and what people asked for."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

from reconciler.core.state.audit import Event, Happened, Origin
from reconciler.core.state.history import History, Run
from reconciler.core.units.names import ReleaseId

MAX_UNAUDITED = 5000
"""Entries that wait for the disk. What is beyond them is lost, and shows by its missing number."""

OriginOf = Callable[[str, ReleaseId], Origin]
"""Tells of a deployment's release where it comes from."""
_Key = tuple[str, ReleaseId, datetime | None, datetime | None]


def noted(history: History, happened: Sequence[Happened], host: str) -> History:
    """Return the history with an entry for each of these, to be written to the log; the same object for none."""
    if not happened:
        return history
    numbered = enumerate(happened, history.audited + 1)
    entries = (*history.unaudited, *(one.entry(number, host) for number, one in numbered))
    counted = history.audited + len(happened)
    return history.model_copy(update={"audited": counted, "unaudited": entries[:MAX_UNAUDITED]})


def caught_up(history: History, last: int, host: str) -> History:
    """Go on from a log whose last entry has the number `last`, 0 where it has none.

    What is in the log is in no need of being written again. Runs of before there was a log come into it once.
    """
    left = tuple(entry for entry in history.unaudited if entry.number > last)
    counted = max(history.audited, last)
    if left != history.unaudited or counted != history.audited:
        history = history.model_copy(update={"audited": counted, "unaudited": left})
    return history if counted else noted(history, _imported(history), host)


def what_happened(before: History, after: History, origin_of: OriginOf, now: datetime) -> list[Happened]:
    """Compare two histories, one of which became the other at `now`."""
    if after is before:
        return []
    former = {_key(run): run for run in before.runs}
    found = []
    for run in after.runs:
        event = _event(run, former.get(_key(run)))
        if event is not None:
            origin = None if event in (Event.ENDED, Event.EXPLAINED) else origin_of(run.name, run.release)
            found.append(Happened(now, event, {**_fields(run, event), "origin": origin}))
    return found


def _key(run: Run) -> _Key:
    """Tell one run from another; its end is part of it only where it has no begin."""
    return run.name, run.release, run.began, (run.ended if run.began is None else None)


def _event(run: Run, former: Run | None) -> Event | None:
    """Say what became of a run; None when nothing did that an auditor asks about."""
    if run is former:
        return None
    if former is None:
        return Event.REJECTED if run.began is None else Event.BEGAN
    if run.ended is None:
        return None  # it may end one day for the reason that is known by now
    if former.ended is None:
        return Event.ENDED
    return Event.EXPLAINED if run.why != former.why else None


def _fields(run: Run, event: Event) -> dict[str, Any]:
    about = {"name": run.name, "version": run.version, "release": run.release, "began": run.began}
    return about if event is Event.BEGAN else {**about, "ended": run.ended, "why": run.why}


def _imported(history: History) -> list[Happened]:
    """Tell what the history remembers from before there was a log, in the order of time."""
    return sorted((one for run in history.runs for one in _of_run(run)), key=lambda one: one.at)


def _of_run(run: Run) -> Iterator[Happened]:
    if run.began is not None:
        yield Happened(run.began, Event.BEGAN, {**_fields(run, Event.BEGAN), "imported": True})
    if run.ended is not None:
        event = Event.REJECTED if run.began is None else Event.ENDED
        yield Happened(run.ended, event, {**_fields(run, event), "imported": True})
