"""Counts what a release answered, and what of that it failed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Counters:
    """Finished requests to /predict and /invocations, and how many of them were errors of the release."""

    requests: int = 0
    errors: int = 0

    def count(self, release_failed: bool) -> None:
        """One more request was answered; `release_failed` when the release is to blame, not the client."""
        self.requests += 1
        self.errors += release_failed

    def __str__(self) -> str:
        # The reconciler reads this at the end of the status line, and judges a soak by it.
        return f"requests={self.requests} errors={self.errors}"
