"""What the bridge needs of a broker."""

import time
from dataclasses import dataclass, field
from typing import Protocol


class BrokerError(Exception):
    """The broker cannot be used now; the message says why and what to do, without a secret. It is tried again."""


class NobodyListensError(BrokerError):
    """Nobody is subscribed to the subject of the results."""


@dataclass(eq=False)
class Delivery:
    """One request, as the broker handed it over."""

    data: bytes
    identity: str
    """Tells messages apart: a message that is handed over again has the same."""
    reply: str = ""
    """Where to tell JetStream that it is settled; "" for a message of core NATS, which wants to know nothing."""
    arrived: float = field(default_factory=time.monotonic)
    """When it was first handed over, on the monotonic clock."""


class Broker(Protocol):
    """Publishes what came of requests. Each method waits for a lost connection to come back, for ever.

    The caller sets the limit, and cancels.
    """

    async def was_answered(self, inference: str) -> bool:
        """Whether a result for this id was published before, as far as the broker remembers."""
        ...

    async def publish_result(self, inference: str, payload: bytes) -> None:
        """Publish a result once, however often this is called for an id. Raises NobodyListensError."""
        ...

    async def publish_failed(self, delivery: Delivery, payload: bytes) -> None:
        """Publish that a request was given up."""
        ...

    async def settle(self, delivery: Delivery) -> None:
        """Tell the broker not to hand a request over again."""
        ...

    async def keep(self, delivery: Delivery) -> None:
        """Tell the broker that a request is still worked on; does nothing without a connection."""
        ...
