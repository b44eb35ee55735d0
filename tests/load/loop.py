"""Runs all clients of a load in one thread, until it is told to stop and the last request has ended."""

from __future__ import annotations

import heapq
import select
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from time import monotonic

from tests.load.client import Client, Target
from tests.load.judge import Judge

TICK = 0.05
"""Seconds between two reports."""
# Nobody hammers a server that refuses: it would take the processor from the one that is about to serve.
_PAUSE_AFTER_FAILURE = 0.05


@dataclass(frozen=True, slots=True)
class Mix:
    """How many clients there are, how many of them keep their connection, and how fast and patient they are."""

    connections: int
    kept: int
    rate: float | None
    """Requests per second of all together; None: as many as the server answers."""
    timeout: float
    """Seconds that a request may take."""


class Loop:
    """The clients, and when each of them asks next."""

    def __init__(self, targets: Sequence[tuple[Target, bytes]], mix: Mix, judge: Judge) -> None:
        """Clients of either sort are spread evenly over the targets, each of which has its request."""
        self._poll = select.epoll()
        self._watched: dict[int, Client] = {}
        self._mix = mix
        self._clients: list[Client] = []
        for number in range(mix.connections):
            keep = number < mix.kept
            target, request = targets[(number if keep else number - mix.kept) % len(targets)]
            self._clients.append(Client(target, request, judge, self._poll, self._watched, keep=keep))
        self._number = count()
        self._slot = monotonic()
        self._due: list[tuple[float, int, Client]] = []
        for client in self._clients:
            self._plan(client, self._slot)

    def run(self, stopping: Callable[[], bool], report: Callable[[], None]) -> None:
        """Asks until `stopping`, which is looked at once a tick; then waits for what is under way."""
        stop, next_tick = False, 0.0
        while not stop or any(client.asking for client in self._clients):
            now = monotonic()
            if now >= next_tick:
                next_tick = now + TICK
                stop = stop or stopping()
                self._give_up(now)
                report()
            if not stop:
                self._begin(now)
            due = self._due[0][0] if self._due and not stop else next_tick
            for number, events in self._poll.poll(max(0.0, min(due, next_tick) - monotonic())):
                client = self._watched[number]
                asking = client.asking
                client.ready(events, now := monotonic())
                if asking and not client.asking:
                    self._plan(client, now)
        for client in self._clients:
            client.close()

    def _begin(self, now: float) -> None:
        while self._due and self._due[0][0] <= now:
            client = heapq.heappop(self._due)[2]
            client.begin(monotonic())
            if not client.asking:
                self._plan(client, monotonic())

    def _give_up(self, now: float) -> None:
        for client in self._clients:
            if client.give_up(now, self._mix.timeout):
                self._plan(client, now)

    def _plan(self, client: Client, now: float) -> None:
        """Says when a client that is idle asks next."""
        at = now + (_PAUSE_AFTER_FAILURE if client.harmed else 0.0)
        if self._mix.rate:
            at = max(at, self._slot)
            self._slot = at + 1 / self._mix.rate
        heapq.heappush(self._due, (at, next(self._number), client))
