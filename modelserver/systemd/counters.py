"""Counts what a release answered, and what of that it failed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Counters:
    """Finished requests to /predict and /invocations, and how many of them were errors of the release."""

    requests: int = 0
    errors: int = 0

    def finished(self, failed: bool) -> None:
        """One more request; `failed` when the release is to blame for its answer, not the client."""
        self.requests += 1
        self.errors += failed

    def __str__(self) -> str:
        return f"requests={self.requests} errors={self.errors}"
