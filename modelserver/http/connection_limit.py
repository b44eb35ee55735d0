"""Decides who of those that are connected has to go when there is no room for another one."""

from __future__ import annotations

from enum import Enum
from typing import Protocol


class Doing(Enum):
    """What a connection does."""

    WAITING = "no complete request head"
    SENDING = "the body arrives"
    ANSWERED = "its request is complete and is being answered"


class Member(Protocol):
    """A connection, as far as this module is concerned."""

    def pace(self, now: float) -> float:
        """Bytes of its body per second."""

    def evict(self) -> None:
        """Closes it."""


class Crowd:
    """The connections of one server, at most `most` of them.

    Those without a complete head and those that send a body share the room: the larger group gives somebody up, the
    one that has waited longest or the slowest sender. So neither kind of flood keeps out a newcomer, who belongs to the
    other kind for a moment. A connection whose request is being answered stays: it would be lost.
    """

    def __init__(self, most: int) -> None:
        """Nobody is connected yet."""
        self.most = most
        self.evicted = 0
        self.leaving = 0  # those that found no room and read why
        # Dictionaries keep their order: the first of those that wait has waited longest.
        self._doing: dict[Doing, dict[Member, None]] = {doing: {} for doing in Doing}

    def __len__(self) -> int:
        return sum(map(len, self._doing.values()))

    def move(self, member: Member, doing: Doing) -> None:
        """`member` does this from now on."""
        self.leave(member)
        self._doing[doing][member] = None

    def leave(self, member: Member) -> None:
        """`member` is not connected any more."""
        for members in self._doing.values():
            members.pop(member, None)

    def make_room(self, now: float, wanted: int = 1) -> bool:
        """Whether `wanted` more fit in, after one was evicted if need be."""
        return len(self) + wanted <= self.most or self.evict(now)

    def evict(self, now: float) -> bool:
        """Closes the connection that can best be spared; whether there was one."""
        waiting, sending = self._doing[Doing.WAITING], self._doing[Doing.SENDING]
        if not waiting and not sending:
            return False
        victim = next(iter(waiting)) if len(waiting) > len(sending) else min(sending, key=lambda one: one.pace(now))
        self.leave(victim)
        self.evicted += 1
        victim.evict()
        return True
