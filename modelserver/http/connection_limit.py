"""Decides which connection has to go when there is no room for another one."""

from __future__ import annotations

from enum import Enum
from typing import Protocol


class ConnectionPhase(Enum):
    """What a connection reads at the moment.

    This is the connection's side of a request. How far the request itself has come, from its body's arrival through
    the model's threads, is a `modelserver.model.blame.Stage`.
    """

    READING_HEAD = "it is idle, or the head of its request is not complete"
    READING_BODY = "the body of its request arrives"
    REQUEST_COMPLETE = "its request is complete and is being answered"


class LimitedConnection(Protocol):
    """A connection, as far as the limit is concerned."""

    def body_rate(self, now: float) -> float:
        """Bytes of its body per second."""

    def abort(self) -> None:
        """Closes it at once."""


class ConnectionLimit:
    """The connections of one server, at most `limit` of them.

    Those in READING_HEAD and those in READING_BODY share the room: the larger group loses one connection, the one whose
    head has been awaited longest or the slowest sender. So neither kind of flood keeps out a newcomer, which belongs to
    the other kind for a moment. A connection in REQUEST_COMPLETE stays: its request would be lost.
    """

    def __init__(self, limit: int) -> None:
        """Nobody is connected yet."""
        self.limit = limit
        # Refused connections whose clients still read why: in no phase, and bounded by whoever counts them here.
        self.refused = 0
        # Dictionaries keep their order: the first of those in READING_HEAD has been there longest.
        self._phases: dict[ConnectionPhase, dict[LimitedConnection, None]] = {phase: {} for phase in ConnectionPhase}

    def __len__(self) -> int:
        return sum(map(len, self._phases.values()))

    def set_phase(self, connection: LimitedConnection, phase: ConnectionPhase) -> None:
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
        reading_head = self._phases[ConnectionPhase.READING_HEAD]
        reading_body = self._phases[ConnectionPhase.READING_BODY]
        if not reading_head and not reading_body:
            return False
        if len(reading_head) > len(reading_body):
            spared = next(iter(reading_head))
        else:
            spared = min(reading_body, key=lambda connection: connection.body_rate(now))
        self.remove(spared)
        spared.abort()
        return True
