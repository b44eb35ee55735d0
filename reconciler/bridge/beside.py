"""Leaves requests to an older server that answers the same subject, as long as that one does.

Such a server takes part in no queue group, so both get each request. Its results are seen where all results are
published. A request that has no result in time is answered here.
"""

import asyncio
import json
import time
from collections import OrderedDict

_MOST_REMEMBERED = 100_000
"""Results whose ids are known, the latest ones."""
_LAST_RESULTS = 60.0
"""Seconds."""
_LARGEST_RESULT = 16 * 1024**2
"""Bytes that are read to find an id."""


class Beside:
    """Which results were seen, and whether requests wait for them."""

    def __init__(self, patience: float, *, is_on: bool) -> None:
        """`patience`: seconds for which a request is left to the older server."""
        self._patience = patience
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._waiting: dict[str, asyncio.Event] = {}
        self._ended = asyncio.Event()
        self._ended_at = float("-inf")
        if not is_on:
            self._ended.set()

    @property
    def is_on(self) -> bool:
        """Whether requests are left to an older server."""
        return not self._ended.is_set()

    def switch(self, on: bool) -> None:
        """Begin to leave requests to an older server, or have all of them answered here from now on."""
        if on:
            self._ended.clear()
        elif self.is_on:
            self._ended_at = time.monotonic()
            self._ended.set()

    def saw_result(self, payload: bytes) -> None:
        """Take note of a result, whoever published it. What cannot be read is no result."""
        if len(payload) > _LARGEST_RESULT:
            return
        try:
            document: object = json.loads(payload)
        except (ValueError, RecursionError):
            return
        inference = document.get("inference_id") if isinstance(document, dict) else None
        if not isinstance(inference, str):
            return
        self._seen[inference] = None
        self._seen.move_to_end(inference)
        while len(self._seen) > _MOST_REMEMBERED:
            self._seen.popitem(last=False)
        if inference in self._waiting:
            self._waiting[inference].set()

    async def was_answered_by_other(self, inference: str) -> bool:
        """Wait for a result of somebody else, as long as requests are left to an older server.

        Return whether there was one. For a while after the older server ended, its last results count, too: requests
        that it answered may still be on their way here.
        """
        if self.is_on and inference not in self._seen:
            await self._wait_for(inference)
        has_just_ended = time.monotonic() - self._ended_at < _LAST_RESULTS
        return inference in self._seen and (self.is_on or has_just_ended)

    async def _wait_for(self, inference: str) -> None:
        seen = self._waiting.setdefault(inference, asyncio.Event())
        waits = [asyncio.ensure_future(event.wait()) for event in (seen, self._ended)]
        try:
            await asyncio.wait(waits, timeout=self._patience, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            self._waiting.pop(inference, None)
