"""Notes the two signals that send a server into standby and back, from the first moment of the process on."""

from __future__ import annotations

import signal
from types import FrameType


class Standby:
    """What was asked for last: SIGUSR1 to stand by, SIGUSR2 to answer.

    The handler only notes what is asked for; the server brings it about when it next looks. So signals may repeat and
    overtake each other. Nobody can tell the order of two that arrive in the same instant, the kernel included. Python
    runs the handler of SIGUSR2 last then, which is the safe one: a server that answers loses nothing.
    """

    def __init__(self) -> None:
        """Nobody asked for anything yet: the server answers."""
        self.requested = False

    def catch_signals(self) -> None:
        """Installs the handlers, whatever was done to the signals; without a handler they would kill the process."""
        signals = (signal.SIGUSR1, signal.SIGUSR2)
        for number in signals:
            signal.signal(number, self._note)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)

    def ignore_signals(self) -> None:
        """Makes the signals harmless for the rest of the process: Python gives up its handlers before it ends."""
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.requested = number == signal.SIGUSR1
