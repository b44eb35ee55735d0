"""Decides how many predictions run at once: one, unless two side by side were seen to end sooner.

Predictions of most models are Python for the most part, which runs in one thread at a time: several at once only get
into each other's way. Others wait, or compute without holding the interpreter. Nobody says which a model is, so it is
measured: now and then a second prediction is started beside another one.
"""

from __future__ import annotations

_TRIAL_EVERY = 32
"""Predictions for which others wait, until a second one is tried beside one."""
_PAYS = 0.25
"""Share by which each other one may slow a prediction down; where they exclude each other, it is a half or more."""
_WEIGHT = 0.2
"""Of a new measurement in the running average."""
LONG = 0.05
"""Seconds after which a prediction does not keep the next one waiting any more, whatever was measured."""


class Pace:
    """What was measured so far. All times are in seconds."""

    def __init__(self, cpus: int) -> None:
        """For a host with so many CPUs: no more short predictions than that run at once."""
        self._cpus = cpus
        self._alone: float | None = None
        self._slowed_down: float | None = None
        self._asked = 0

    def limit(self) -> int:
        """How many may run at once now; to be asked once for each prediction that would have to wait."""
        if self._slowed_down is not None and self._slowed_down < _PAYS:
            return self._cpus
        self._asked += 1
        return min(self._cpus, 2 if self._asked % _TRIAL_EVERY == 0 else 1)

    def ended(self, seconds: float, beside: int) -> None:
        """A prediction took `seconds`; at most `beside` others ran at the same time."""
        if beside == 0:
            self._alone = _averaged(self._alone, seconds)
        elif self._alone and beside < self._cpus:  # more of them share the CPUs, which says nothing
            self._slowed_down = _averaged(self._slowed_down, (seconds / self._alone - 1) / beside)


def _averaged(average: float | None, new: float) -> float:
    return new if average is None else (1 - _WEIGHT) * average + _WEIGHT * new
