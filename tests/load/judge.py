"""Judges answers by what the release that they name is expected to say, and keeps the totals."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tests.load.answer import Head
from tests.load.totals import Release, Totals, is_of

_EXAMPLES = 20
_EXAMPLES_OF_A_KIND = 5
_REMEMBERED = 1024


class Judge:
    """Knows the expected bodies; every request that ends is told to it once, with who asked."""

    def __init__(self, expected: Mapping[str, object]) -> None:
        """`expected` has a JSON document for each release, which is said in full or by its version."""
        self.totals = Totals()
        self._expected = expected
        # Almost every answer is, byte for byte, one that was judged before.
        self._verdicts: dict[tuple[Head, bytes], str] = {}
        self._examples: dict[str, int] = {}

    def answered(self, head: Head, body: bytes, now: float, connected: float | None, who: object) -> None:
        """A complete answer; `connected` says when its connection was begun, if it is the first on it."""
        key = (head, body)
        wrong = self._verdicts.get(key)
        if wrong is None:
            if len(self._verdicts) >= _REMEMBERED:
                self._verdicts.clear()
            wrong = self._verdicts[key] = self._wrong(head, body)
        if head.release:
            self._note(head.release, not wrong, now, connected)
        if not wrong:
            self.totals.right += 1
            return
        name = (head.release, head.status)
        self.totals.wrong[name] = self.totals.wrong.get(name, 0) + 1
        self._example(f"{name}", f"{now:.3f} {who}: {wrong}")

    def failed(self, kind: str, why: str, now: float, who: object) -> None:
        """A request that got no complete answer."""
        self.totals.failed[kind] = self.totals.failed.get(kind, 0) + 1
        self._example(kind, f"{now:.3f} {who}: {kind}: {why}")

    def closed(self, now: float, who: object, *, announced: bool) -> None:
        """A kept connection that is no longer usable, though no request was under way on it."""
        if announced:
            self.totals.closed_announced += 1
            return
        self.totals.closed_unannounced += 1
        self._example("closed", f"{now:.3f} {who}: closed unannounced")

    def _wrong(self, head: Head, body: bytes) -> str:
        """What is wrong with an answer; empty if nothing is."""
        said = f"{head.status} from {head.release or 'no release'}: {body[:200]!r}"
        if head.status != 200 or not head.release:
            return said
        expected = next((name for name in self._expected if is_of(head.release, name)), None)
        if expected is None:
            return f"{said}; nothing is expected of this release"
        try:
            right = json.loads(body) == self._expected[expected]
        except ValueError:
            right = False
        return "" if right else f"{said}; expected {json.dumps(self._expected[expected])[:200]}"

    def _note(self, name: str, right: bool, now: float, connected: float | None) -> None:
        release = self.totals.releases.get(name)
        if release is None:
            release = self.totals.releases[name] = Release(first=now)
        release.last = now
        if right:
            release.right += 1
        else:
            release.wrong += 1
        if connected is not None:
            release.connections += 1
            release.latest_connect = max(release.latest_connect, connected)

    def _example(self, kind: str, sentence: str) -> None:
        seen = self._examples[kind] = self._examples.get(kind, 0) + 1
        if seen <= _EXAMPLES_OF_A_KIND and len(self.totals.examples) < _EXAMPLES:
            self.totals.examples.append(sentence)
