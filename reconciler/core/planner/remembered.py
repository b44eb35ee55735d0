"""A property that is found once for each object.

`functools.cached_property` of Python 3.11 takes a lock for that, which costs as much as most of our answers.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

_Of = TypeVar("_Of")
_Answer = TypeVar("_Answer", covariant=True)


class remembered(Generic[_Of, _Answer]):  # noqa: N801 - it is used as `property` is
    """Like `property`, and the first answer is the last: only for what follows from values that never change."""

    def __init__(self, find: Callable[[_Of], _Answer]) -> None:
        self._find = find
        self._name = find.__name__
        self.__doc__ = find.__doc__

    def __get__(self, instance: _Of, owner: type | None = None) -> _Answer:
        # The next time, Python finds the answer in the object itself.
        answer = instance.__dict__[self._name] = self._find(instance)
        return answer
