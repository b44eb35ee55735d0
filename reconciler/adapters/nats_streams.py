"""The streams and consumers of JetStream by which one deployment's requests are answered exactly once.

docs/nats.md lists them, docs/adr/0029 says why they are as they are.
"""

import hashlib
from dataclasses import dataclass

from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    RetentionPolicy,
    StreamConfig,
)
from nats.js.errors import NotFoundError

from reconciler.adapters.nats_link import CALL_TIMEOUT

ACK_WAIT = 30.0
"""Seconds after which the broker hands a request over again that nobody says is worked on."""
REMEMBERED = 3600.0
"""Seconds for which the broker knows which ids were answered."""
_MOST_UNSETTLED = 2000
"""Requests that all bridges of a deployment have at a time."""
_WINDOW = 600.0
"""Seconds within which a second result of the same id is dropped by the broker."""
_KEPT_REQUESTS = 7 * 24 * 3600.0
"""Seconds after which a request is dropped that no bridge has asked for."""


@dataclass(frozen=True)
class Subjects:
    """The subjects of one deployment, and the names of its streams and consumers."""

    name: str
    results: str
    """Where results are expected."""

    @property
    def requests(self) -> str:
        """Where requests are published."""
        return f"{self.name}-topic"

    @property
    def outbox(self) -> str:
        """Where a result is stored until somebody is there to get it."""
        return f"{self.requests}.results"

    @property
    def failed(self) -> str:
        """Where a request goes that was given up."""
        return f"{self.requests}.failed"

    @property
    def answered(self) -> str:
        """Where it is stored which ids were answered; the last part stands for the id."""
        return f"{self.requests}.answered.*"

    def answered_of(self, inference: str) -> str:
        """The subject that stands for one id."""
        digest = hashlib.sha256(inference.encode()).hexdigest()[:32]
        return f"{self.requests}.answered.{digest}"


@dataclass(frozen=True)
class Streams:
    """The streams that the subjects of a deployment are in: its own, or those that somebody made before."""

    requests: str
    results: str
    answered: str


async def make_streams(
    jetstream: JetStreamContext, subjects: Subjects, keep_results: float, *, remembers: bool
) -> Streams:
    """Make what is missing, and adopt what is there as it is. To do it again changes nothing.

    `keep_results`: seconds for which results wait for a subscriber, and failed requests for a person. `remembers`:
    whether the broker still knows after its restart what it has handed over to subscribers.
    """
    name = subjects.name
    requests = await _stream(
        jetstream,
        f"{name}-requests",
        subjects.requests,
        StreamConfig(retention=RetentionPolicy.WORK_QUEUE, max_age=_KEPT_REQUESTS),
    )
    await _consumer(
        jetstream,
        requests,
        ConsumerConfig(
            durable_name=name,
            filter_subject=subjects.requests,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ACK_WAIT,
            # The bridge decides when a request is given up.
            max_deliver=-1,
            max_ack_pending=_MOST_UNSETTLED,
        ),
    )
    results = await _stream(
        jetstream,
        f"{name}-results",
        subjects.outbox,
        StreamConfig(
            # One that does not remember must not have any more what it has handed over.
            retention=RetentionPolicy.LIMITS if remembers else RetentionPolicy.INTEREST,
            max_age=keep_results,
            duplicate_window=min(_WINDOW, keep_results),
        ),
    )
    await _consumer(
        jetstream,
        results,
        _handing_over(subjects, remembers=remembers),
    )
    answered = await _stream(
        jetstream,
        f"{name}-answered",
        subjects.answered,
        StreamConfig(max_age=REMEMBERED, max_msgs_per_subject=1),
    )
    await _stream(
        jetstream,
        f"{name}-failed",
        subjects.failed,
        StreamConfig(max_age=keep_results, duplicate_window=min(_WINDOW, keep_results)),
    )
    return Streams(requests.name, results.name, answered.name)


def _handing_over(subjects: Subjects, *, remembers: bool) -> ConsumerConfig:
    """Have each result handed over once, to whoever is subscribed to the results, and only while somebody is.

    Subscribers answer nothing. What is handed over counts as handed over all the same, since it is never tried again.
    """
    config = ConsumerConfig(
        durable_name=f"{subjects.name}-results", filter_subject=subjects.outbox, deliver_subject=subjects.results
    )
    if not remembers:
        return config.evolve(ack_policy=AckPolicy.NONE)
    return config.evolve(ack_policy=AckPolicy.EXPLICIT, max_deliver=1, max_ack_pending=-1)


@dataclass(frozen=True)
class _Stream:
    """A stream, and what is known of what it holds."""

    name: str
    is_ours: bool
    is_new: bool = False


async def _stream(jetstream: JetStreamContext, name: str, subject: str, config: StreamConfig) -> _Stream:
    """Find the stream that has a subject, or make one. One of ours follows the settings of how long it keeps what."""
    try:
        found = await jetstream.find_stream_name_by_subject(subject)
    except NotFoundError:
        await jetstream.add_stream(config.evolve(name=name, subjects=[subject]))
        return _Stream(name, is_ours=True, is_new=True)
    if found != name:
        return _Stream(found, is_ours=False)
    there = (await jetstream.stream_info(name)).config
    keeps = {"max_age": config.max_age, "duplicate_window": config.duplicate_window or there.duplicate_window}
    if (there.max_age, there.duplicate_window) != tuple(keeps.values()):
        await jetstream.update_stream(there.evolve(**keeps))
    return _Stream(name, is_ours=True)


async def _consumer(jetstream: JetStreamContext, stream: _Stream, config: ConsumerConfig) -> None:
    """Make a durable consumer, or go on with the one there is."""
    durable = str(config.durable_name)
    try:
        there = await jetstream.consumer_info(stream.name, durable)
    except NotFoundError:
        await jetstream.add_consumer(stream.name, config.evolve(deliver_policy=_beginning(stream, config)))
        return
    if there.config.deliver_subject == config.deliver_subject:
        return
    # What was handed over under the former subject is not handed over again.
    after = there.delivered.stream_seq + 1 if there.delivered else 1
    await jetstream.delete_consumer(stream.name, durable)
    beginning = config.evolve(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=after)
    await jetstream.add_consumer(stream.name, beginning)


def _beginning(stream: _Stream, config: ConsumerConfig) -> DeliverPolicy:
    """Where a consumer begins that is not there.

    In a stream of somebody else, requests may have been answered long ago. In one of results, all may have been handed
    over by a consumer that somebody removed: rather none of them than all once more.
    """
    hands_over_results = config.deliver_subject is not None
    knows_what_is_due = stream.is_new or (stream.is_ours and not hands_over_results)
    return DeliverPolicy.ALL if knows_what_is_due else DeliverPolicy.NEW


async def was_answered(jetstream: JetStreamContext, streams: Streams, subjects: Subjects, inference: str) -> bool:
    """Whether an id was answered within the last hour."""
    try:
        await jetstream.get_last_msg(streams.answered, subjects.answered_of(inference))
    except NotFoundError:
        return False
    return True


async def store_result(jetstream: JetStreamContext, subjects: Subjects, inference: str, payload: bytes) -> None:
    """Store a result, to be handed over to whoever listens, and remember that the id was answered.

    The broker drops a second result of the same id.
    """
    headers = {"Nats-Msg-Id": inference}
    await jetstream.publish(subjects.outbox, payload, timeout=CALL_TIMEOUT, headers=headers)
    await jetstream.publish(subjects.answered_of(inference), b"", timeout=CALL_TIMEOUT)
