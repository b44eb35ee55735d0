"""What can become of a request, and when it is worth another try."""

from enum import Enum, StrEnum, auto


class Outcome(StrEnum):
    """What became of a request; docs/nats.md explains each."""

    ANSWERED = "answered"
    ANSWERED_BEFORE = "answered-before"
    ANSWERED_BY_OTHER = "answered-by-other"

    INVALID_MESSAGE = "invalid-message"
    MESSAGE_TOO_LARGE = "message-too-large"
    TOO_MANY_WAIT = "too-many-wait"
    RECORDING_MISSING = "recording-missing"
    RECORDING_TOO_LARGE = "recording-too-large"
    STORE_REFUSES = "store-refuses"
    STORE_UNAVAILABLE = "store-unavailable"
    REFUSED_BY_MODEL = "refused-by-model"
    MODEL_ERROR = "model-error"
    SERVER_UNAVAILABLE = "server-unavailable"
    NOBODY_LISTENS = "nobody-listens"
    DEADLINE = "deadline"
    BRIDGE_ENDED = "bridge-ended"

    @property
    def is_answer(self) -> bool:
        """Whether somebody answered the request."""
        return self in (Outcome.ANSWERED, Outcome.ANSWERED_BEFORE, Outcome.ANSWERED_BY_OTHER)


class Retry(Enum):
    """When it is worth while to try again what failed."""

    NEVER = auto()
    """The same request would fail again."""
    A_FEW_TIMES = auto()
    """It may have been chance, or too early."""
    UNTIL_THE_DEADLINE = auto()
    """Something is away that is expected to come back."""


_RETRY = {
    Outcome.RECORDING_MISSING: Retry.A_FEW_TIMES,
    Outcome.MODEL_ERROR: Retry.A_FEW_TIMES,
    Outcome.STORE_REFUSES: Retry.A_FEW_TIMES,
    Outcome.STORE_UNAVAILABLE: Retry.UNTIL_THE_DEADLINE,
    Outcome.SERVER_UNAVAILABLE: Retry.UNTIL_THE_DEADLINE,
    Outcome.NOBODY_LISTENS: Retry.UNTIL_THE_DEADLINE,
}


class RequestFailedError(Exception):
    """A request cannot be answered, now or at all; the message is a sentence without anything that patients said."""

    def __init__(self, outcome: Outcome, why: str, release: str = "") -> None:
        """`release`: the release that was asked, as the server's header names it; "" where none was."""
        super().__init__(why)
        self.outcome = outcome
        self.release = release
        self.attempts = 1
        """How often it was tried."""

    @property
    def retry(self) -> Retry:
        """When it is worth while to try again."""
        return _RETRY.get(self.outcome, Retry.NEVER)
