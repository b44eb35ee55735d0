"""What a load counts: every request once, as right, wrong or failed; and what each release answered, and when."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any


def is_of(release: str, wanted: str) -> bool:
    """Whether a `Model-Release` (`NAME@VERSION.DIGEST8`) is the wanted one, said in full or by its version."""
    return wanted in (release, release.rpartition("@")[2].partition(".")[0])


@dataclass(slots=True)
class Release:
    """The answers that named one release. Times are of time.monotonic(), which all processes of a machine share."""

    right: int = 0
    wrong: int = 0
    first: float = 0.0
    """When its first answer was complete."""
    last: float = 0.0
    """When its last answer so far was complete."""
    connections: int = 0
    """How many connections it took: it gave their first answer."""
    latest_connect: float = 0.0
    """When the latest of those was begun: just before connect() was called. 0 if it took none."""


@dataclass(slots=True)
class Totals:
    """Running totals, or the final ones."""

    right: int = 0
    wrong: dict[tuple[str, int], int] = field(default_factory=dict)
    """Complete answers that were not the expected one, by release (empty if the header was missing) and status."""
    failed: dict[str, int] = field(default_factory=dict)
    """Requests without a complete answer, by kind: refused, reset, eof, timeout, malformed, other."""
    closed_unannounced: int = 0
    """Kept connections that were found closed before the next request was written, though no answer had said so."""
    closed_announced: int = 0
    """Kept connections that ended with an answer that said so."""
    releases: dict[str, Release] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)
    """A few sentences about what was wrong, failed, or closed unannounced."""
    at: float = 0.0
    """When they were these."""
    cpu_seconds: float = 0.0
    """What the load itself cost, its start included."""

    @property
    def requests(self) -> int:
        """How many requests have ended, in whatever way."""
        return self.right + sum(self.wrong.values()) + sum(self.failed.values())

    def right_from(self, release: str) -> int:
        """How many right answers a release gave, said in full or by its version."""
        return sum(one.right for one in self._of(release))

    def latest_connect(self, release: str) -> float:
        """When the latest connection that a release answered was begun; 0 if there was none."""
        return max((one.latest_connect for one in self._of(release)), default=0.0)

    def harm(self) -> list[str]:
        """Everything that a client could complain about, in sentences; empty if every request was answered rightly."""
        found = [f"{count} wrong from {release!r} with {status}" for (release, status), count in self.wrong.items()]
        found += [f"{count} failed: {kind}" for kind, count in self.failed.items()]
        if self.closed_unannounced:
            found.append(f"{self.closed_unannounced} closed unannounced")
        return found + self.examples

    def to_json(self) -> str:
        """One line."""
        wrong = [[release, status, count] for (release, status), count in self.wrong.items()]
        return json.dumps(asdict(self) | {"wrong": wrong})

    @classmethod
    def from_json(cls, line: str | bytes) -> Totals:
        """What `to_json` wrote."""
        found: dict[str, Any] = json.loads(line)
        found["wrong"] = {(release, status): count for release, status, count in found["wrong"]}
        found["releases"] = {name: Release(**one) for name, one in found["releases"].items()}
        return cls(**found)

    def _of(self, wanted: str) -> list[Release]:
        return [one for name, one in self.releases.items() if is_of(name, wanted)]
