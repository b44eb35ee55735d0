"""What the audit log says of a moment: which releases answered then."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from reconciler.core.state.audit import Entry, Event


@dataclass(frozen=True)
class AuditedRun:
    """A release in service, as its entries tell."""

    began: Entry
    ended: datetime | None = None
    """None while nothing says that it ended."""
    why: str = ""

    def covers(self, moment: datetime) -> bool:
        """Whether the release served at a moment."""
        return self.began.at <= moment and (self.ended is None or moment < self.ended)


def audited_runs(entries: Iterable[Entry]) -> Iterator[AuditedRun]:
    """Put the entries of each run together, the runs in the order in which they ended; last those that go on.

    A deployment serves one release at a time: the begin of another one ends a run of which no end was written.
    """
    going_on: dict[str, AuditedRun] = {}
    for entry in entries:
        if entry.name is None:
            continue
        run = going_on.get(entry.name)
        if entry.event is Event.BEGAN:
            if run is not None:
                yield replace(run, ended=entry.at, why="nobody saw it end; another run began")
            going_on[entry.name] = AuditedRun(entry)
        elif entry.event is Event.ENDED and run is not None and run.began.release == entry.release:
            yield replace(going_on.pop(entry.name), ended=entry.ended, why=entry.why)
    yield from going_on.values()
