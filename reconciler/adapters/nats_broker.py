"""A NATS broker as the bridge uses it: requests come in, results go out, by JetStream or by core NATS."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol
from weakref import WeakKeyDictionary

import nats.errors
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from reconciler.adapters.nats_link import CALL_TIMEOUT, FAILURES, Link, Session, flush
from reconciler.adapters.nats_streams import Streams, Subjects, make_streams, store_result, was_answered
from reconciler.ports.broker import Delivery, NobodyListensError

_FETCH_PATIENCE = 5.0
"""Seconds that one question for requests waits for some."""
_REMEMBERS = (2, 11)
"""The first version of a broker that still knows after a restart what it has handed over; measured with 2.9 to 2.15."""
_NO_RESPONDERS = "503"
_TRIES_TO_SETTLE = 3
"""A broker does not answer to what it settled already. What it did not settle comes again, and is known then."""
_ACK, _IN_PROGRESS = b"+ACK", b"+WPI"


class Desk(Protocol):
    """Takes requests in."""

    async def room(self) -> int:
        """Wait until there is room for more requests, and return for how many."""
        ...

    def take(self, delivery: Delivery) -> None:
        """Take a request, at once."""
        ...

    def saw_result(self, payload: bytes) -> None:
        """Take note of a result that somebody published."""
        ...


def _remembers(session: Session) -> bool:
    """Whether a broker still knows after its restart what it has handed over; not if it does not say what it is."""
    try:
        version = session.client.connected_server_version
    except ValueError:
        return False
    return (version.major, version.minor) >= _REMEMBERS


class NatsBroker:
    """One deployment's part of a broker; a `Broker`."""

    def __init__(
        self,
        subjects: Subjects,
        desk: Desk,
        link: Callable[[Callable[[Session], Awaitable[None]]], Link],
        keep_results: float,
        *,
        watch: bool,
    ) -> None:
        """`link` makes the link, given what is to be done with each new session. `watch`: see `watch_results`."""
        self._subjects = subjects
        self._desk = desk
        self._keep_results = keep_results
        self._streams: Streams | None = None
        self._handed_over: dict[str, Delivery] = {}
        """What JetStream has handed over and is not settled, by identity."""
        self._intake: asyncio.Task[None] | None = None
        self._is_closed_to_requests = False
        self._numbers = 0
        self._watches = watch
        self._watched: WeakKeyDictionary[Session, Subscription] = WeakKeyDictionary()
        self.link = link(self._begin)

    async def run(self) -> None:
        """Keep the connection, and take requests in, until cancelled."""
        await self.link.run()

    async def stop_taking(self) -> None:
        """Take no more requests. Those that were handed over are all with the desk when this returns."""
        self._is_closed_to_requests = True
        if self._intake is not None:
            self._intake.cancel()
            await asyncio.gather(self._intake, return_exceptions=True)

    async def _begin(self, session: Session) -> None:
        """Do with a new session what comes first."""
        if session.jetstream is not None:
            self._streams = await make_streams(
                session.jetstream, self._subjects, self._keep_results, remembers=_remembers(session)
            )
        await self._watch_in(session)
        if not self._is_closed_to_requests:
            take = self._take_from_core if session.jetstream is None else self._take_from_jetstream
            self._intake = asyncio.create_task(self._until_it_ends(session, take))

    async def watch_results(self, on: bool) -> None:
        """Tell the desk of each result that is published from now on, or of none."""
        self._watches = on
        await self.link.call(self._watch_in)

    async def _watch_in(self, session: Session) -> None:
        """Subscribe to results, or end that.

        As long as the bridge is subscribed, the broker takes it for somebody who waits for results. So it is only where
        there is no other way to know what an older server answers.
        """
        watched = self._watched.pop(session, None)
        if watched is not None:
            await watched.unsubscribe()
        if self._watches:
            self._watched[session] = await session.client.subscribe(self._subjects.results, cb=self._on_result)
        await flush(session.client)

    async def _on_result(self, message: Msg) -> None:
        self._desk.saw_result(message.data)

    async def _until_it_ends(self, session: Session, take: Callable[[Session], Awaitable[None]]) -> None:
        """Take requests in as long as the session lasts."""
        taking = asyncio.ensure_future(take(session))
        ended = asyncio.ensure_future(session.ended.wait())
        try:
            done, _ = await asyncio.wait({taking, ended}, return_when=asyncio.FIRST_COMPLETED)
            failure = taking.exception() if taking in done else None
            if failure is not None:
                # Somebody may have removed the consumer: the next session makes it again.
                self.link.end(session, failure)
        finally:
            for task in (taking, ended):
                task.cancel()
            await asyncio.gather(taking, ended, return_exceptions=True)

    async def _take_from_core(self, session: Session) -> None:
        """Take what core NATS hands over; the bridges of all hosts share it, each request goes to one of them."""

        async def on_request(message: Msg) -> None:
            self._numbers += 1
            self._desk.take(Delivery(message.data, f"core-{self._numbers}"))

        # The desk bounds what waits; a limit of the client would drop requests and tell nobody.
        subscription = await session.client.subscribe(
            self._subjects.requests,
            queue=self._subjects.name,
            cb=on_request,
            pending_msgs_limit=-1,
            pending_bytes_limit=-1,
        )
        try:
            await session.ended.wait()
        finally:
            if session.client.is_connected:
                # Everything that the broker sent before it knew of the end is handed over first.
                await subscription.drain()  # type: ignore[no-untyped-call]  # nats-py gives it no types

    async def _take_from_jetstream(self, session: Session) -> None:
        """Ask JetStream for as many requests as there is room for."""
        if session.jetstream is None or self._streams is None:
            raise ValueError("no stream was made")
        consumer = await session.jetstream.pull_subscribe_bind(self._subjects.name, self._streams.requests)
        # Not only until it is cancelled: a wait that ends in the same moment swallows that.
        while not (self._is_closed_to_requests or session.ended.is_set()):
            room = await self._desk.room()
            try:
                messages = await consumer.fetch(room, timeout=_FETCH_PATIENCE)
            except nats.errors.TimeoutError:
                continue
            for message in messages:
                self._hand_over(message)

    def _hand_over(self, message: Msg) -> None:
        """Give a request to the desk, unless it has it already: after a lost connection it comes again."""
        # A stream that was removed and made again begins its numbers anew.
        about = message.metadata
        identity = f"{about.stream}.{about.sequence.stream}.{about.timestamp.timestamp()}"
        known = self._handed_over.get(identity)
        if known is not None:
            known.reply = message.reply
            return
        delivery = Delivery(message.data, identity, message.reply)
        self._handed_over[identity] = delivery
        self._desk.take(delivery)

    async def was_answered(self, inference: str) -> bool:
        """Whether a result for this id was stored before; never so by core NATS, which remembers nothing."""

        async def ask(session: Session) -> bool:
            if session.jetstream is None or self._streams is None:
                return False
            return await was_answered(session.jetstream, self._streams, self._subjects, inference)

        return await self.link.call(ask)

    async def publish_result(self, inference: str, payload: bytes) -> None:
        """Publish a result once. Raises NobodyListensError by core NATS; JetStream waits for somebody."""

        async def publish(session: Session) -> None:
            if session.jetstream is None:
                await self._publish_by_core(session, payload)
            else:
                await store_result(session.jetstream, self._subjects, inference, payload)

        await self.link.call(publish)

    async def _publish_by_core(self, session: Session, payload: bytes) -> None:
        client = session.client
        inbox = client.new_inbox()
        replies = await client.subscribe(inbox, max_msgs=1)
        try:
            await client.publish(self._subjects.results, payload, reply=inbox)
            # The broker's word that nobody is there comes before its answer to this.
            await flush(client)
            if replies.pending_msgs == 0:
                return
            answer = await replies.next_msg(CALL_TIMEOUT)
        finally:
            if client.is_connected:
                await replies.unsubscribe()
        if (answer.headers or {}).get("Status") == _NO_RESPONDERS:
            raise NobodyListensError(f"nobody is subscribed to {self._subjects.results}")

    async def publish_failed(self, delivery: Delivery, payload: bytes) -> None:
        """Publish that a request was given up; JetStream keeps it until a person has looked."""

        async def publish(session: Session) -> None:
            if session.jetstream is None:
                await session.client.publish(self._subjects.failed, payload)
                await flush(session.client)
            else:
                headers = {"Nats-Msg-Id": delivery.identity}
                await session.jetstream.publish(self._subjects.failed, payload, timeout=CALL_TIMEOUT, headers=headers)

        await self.link.call(publish)

    async def settle(self, delivery: Delivery) -> None:
        """Tell JetStream not to hand a request over again, and wait until it knows."""

        tries = 0

        async def acknowledge(session: Session) -> None:
            nonlocal tries
            tries += 1
            try:
                await session.client.request(delivery.reply, _ACK, timeout=CALL_TIMEOUT)
            except FAILURES:
                if tries < _TRIES_TO_SETTLE:
                    raise

        if delivery.reply:
            await self.link.call(acknowledge)
            self._handed_over.pop(delivery.identity, None)

    async def keep(self, delivery: Delivery) -> None:
        """Tell JetStream that a request is still worked on."""
        session = self.link.now()
        if session is None or not delivery.reply:
            return
        try:
            await session.client.publish(delivery.reply, _IN_PROGRESS)
        except FAILURES:
            return  # the connection is lost: the request comes again
