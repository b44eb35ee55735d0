"""Starts a load as a process of its own, so that its work is not the test's, and follows what it counts."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.load.totals import Totals

_ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0


class LoadError(AssertionError):
    """The load ended by itself, or what a test waited for did not happen."""


class Load:
    """A running load. It ends with its context, or with the test's process."""

    def __init__(
        self,
        expected: Mapping[str, object],
        *,
        tcp: tuple[str, int] | None = None,
        unix: str | Path | None = None,
        connections: int = 16,
        kept: int | None = None,
        metadata: Mapping[str, object] | None = None,
        part: tuple[str, Path] | None = None,
        rate: float | None = None,
        timeout: float = PATIENCE,
        seconds: float | None = None,
    ) -> None:
        """Prepare; entering the context starts it.

        `expected` has the body of each release, by `NAME@VERSION.DIGEST8` or by version. Of the `connections`, which
        are spread over `tcp` and `unix`, `kept` (half of them) are kept alive, the others are new for each request.
        `part` is the name and the file of a second part; `rate` limits the requests per second of all together;
        `timeout` is for one request; after `seconds` it asks no more.
        """
        self.totals = Totals()
        """What it counted up to its last report; the final totals once it is stopped."""
        options = {
            "tcp": f"{tcp[0]}:{tcp[1]}" if tcp else None,
            "unix": unix,
            "connections": connections,
            "kept": kept,
            "metadata": json.dumps(metadata or {}),
            "rate": rate,
            "timeout": timeout,
            "seconds": seconds,
        }
        self._command = [sys.executable, "-m", "tests.load", f"--expected={json.dumps(expected)}"]
        self._command += [f"--{name}={value}" for name, value in options.items() if value is not None]
        self._command += ["--part", part[0], str(part[1].resolve())] if part else []
        self._timeout = timeout
        self._changed = threading.Condition()
        self._ended = False

    def __enter__(self) -> Self:
        """Start asking."""
        self.process = subprocess.Popen(
            self._command, cwd=_ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._follower = threading.Thread(target=self._follow, daemon=True)
        self._follower.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop asking; kill it if the test failed already."""
        if error is not None:
            self.process.kill()
        with self.process:  # closes what is open to it
            if error is None:
                self.stop()

    def stop(self) -> Totals:
        """Ask no more, wait for the answers to what is under way, and return the final totals."""
        assert self.process.stdin is not None
        assert self.process.stderr is not None
        self.process.stdin.close()
        try:
            status = self.process.wait(self._timeout + PATIENCE)
        finally:
            self.process.kill()
            self._follower.join(PATIENCE)
        if status:
            raise LoadError(f"the load ended with {status}: {self.process.stderr.read().decode()}")
        return self.totals

    def fresh(self) -> Totals:
        """Wait for totals that count everything up to now, and return them."""
        now = time.monotonic()
        return self.wait_until(lambda totals: totals.at >= now, "it reports")

    def wait_for_more(self, answers: int, release: str | None = None, *, deadline: float = PATIENCE) -> Totals:
        """Wait for right answers given from now on: by anybody, or by a release, said in full or by its version."""

        def given(totals: Totals) -> int:
            return totals.right if release is None else totals.right_from(release)

        enough = given(self.fresh()) + answers
        what = f"{answers} more right answers from {release or 'anybody'}"
        return self.wait_until(lambda totals: given(totals) >= enough, what, deadline=deadline)

    def wait_until(self, condition: Callable[[Totals], object], what: str, *, deadline: float = PATIENCE) -> Totals:
        """Wait until the totals fulfil a condition, and return them."""
        end = time.monotonic() + deadline
        with self._changed:
            while not condition(self.totals):
                if self._ended:
                    raise LoadError(f"the load ended before {what}: {self.totals}")
                if not self._changed.wait(end - time.monotonic()):
                    raise LoadError(f"waited {deadline} s in vain for {what}: {self.totals}")
            return self.totals

    def _follow(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                if not line.endswith(b"\n"):  # killed in the middle of it
                    break
                totals = Totals.from_json(line)
                with self._changed:
                    self.totals = totals
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
