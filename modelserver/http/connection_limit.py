"""Decides which connection has to go when there is no room for another one."""

from __future__ import annotations

from enum import Enum
from typing import Protocol


class Phase(Enum):
    """How far the request of a connection has come."""

    WAITING = "its head is not complete"
    SENDING = "its body arrives"
    ANSWERED = "it is complete and is being answered"


class LimitedConnection(Protocol):
    """A connection, as far as the limit is concerned."""

    def body_rate(self, now: float) -> float:
        """Bytes of its body per second."""

    def abort(self) -> None:
        """Closes it at once."""


class ConnectionLimit:
    """The connections of one server, at most `limit` of them.

    Those in WAITING and those in SENDING share the room: the larger group loses one connection, the one that has waited
    longest or the slowest sender. So neither kind of flood keeps out a newcomer, which belongs to the other kind for a
    moment. A connection in ANSWERED stays: its request would be lost.
    """

    def __init__(self, limit: int) -> None:
        """Nobody is connected yet."""
        self.limit = limit
        # Connections that were refused and read why: not in a phase, and bounded by whoever counts them here.
        self.closing = 0
        # Dictionaries keep their order: the first of those in WAITING has waited longest.
        self._phases: dict[Phase, dict[LimitedConnection, None]] = {phase: {} for phase in Phase}

    def __len__(self) -> int:
        return sum(map(len, self._phases.values()))

    def set_phase(self, connection: LimitedConnection, phase: Phase) -> None:
        """`connection` is in this phase from now on, as the last one that came into it."""
        self.remove(connection)
        self._phases[phase][connection] = None

    def remove(self, connection: LimitedConnection) -> None:
        """`connection` does not count any more."""
        for connections in self._phases.values():
            connections.pop(connection, None)

    def make_room(self, now: float) -> bool:
        """Whether there is room for one more, after one was closed if need be."""
        return len(self) < self.limit or self.close_one(now)

    def close_one(self, now: float) -> bool:
        """Closes the connection that can best be spared; whether there was one."""
        waiting, sending = self._phases[Phase.WAITING], self._phases[Phase.SENDING]
        if not waiting and not sending:
            return False
        if len(waiting) > len(sending):
            spared = next(iter(waiting))
        else:
            spared = min(sending, key=lambda connection: connection.body_rate(now))
        self.remove(spared)
        spared.abort()
        return True
