"""Keeps a connection to a NATS broker, with nats-py: one client object for each connection.

nats-py reconnects by itself, but gives up after an error of a login or of a permission, and then drops what was to be
published. Here a lost connection ends its client, and whoever has something to publish waits for the next one.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.errors import APIError, ServiceUnavailableError

from reconciler.core.text.quote import one_line
from reconciler.ports.broker import BrokerError

T = TypeVar("T")

CONNECT_TIMEOUT = 5
"""Seconds for one server."""
CALL_TIMEOUT = 5
"""Seconds for the answer of a broker that is there."""
_PING_INTERVAL = 5
_NOT_FOR_ACCOUNT = 10039
"""The broker's own number for an account that has no JetStream."""
_TRIES_BEFORE_TROUBLE = 2
"""A broker that starts may fail once."""
_NOT_PERMITTED = "permissions violation"
"""How a broker says it, apart from the call that it does not answer then."""
_LONGEST_PAUSE = 5.0
"""Seconds between two tries to connect."""
FAILURES = (nats.errors.Error, OSError, asyncio.TimeoutError)
"""What a call fails with when the broker is away, or says no."""


class NoTlsError(nats.errors.Error):
    """The broker speaks no TLS though it is asked for: nothing secret is sent."""

    def __str__(self) -> str:
        return "it offers no TLS; use nats:// or have the broker speak TLS"


@dataclass(frozen=True, eq=False)
class Session:
    """One connection while it lasts."""

    client: Client
    jetstream: JetStreamContext | None
    """None where messages go by core NATS."""
    ended: asyncio.Event


class Link:
    """The connection to one broker: `run` keeps it, `call` uses it."""

    def __init__(
        self,
        servers: tuple[str, ...],
        options: dict[str, Any],
        mode: str,
        *,
        prepare: Callable[[Session], Awaitable[None]],
        tell: Callable[[str, str], None],
        tell_trouble: Callable[[str], None],
    ) -> None:
        """`mode`: auto, require or never, of JetStream. `prepare` is called with each new session before others get it.

        `tell` is called with a sentence about the connection and with why there is none, "" when there is one;
        `tell_trouble` with why the broker does not take what it is sent, "" when it does again.
        """
        self.servers = servers
        self._options = options
        self._mode = mode
        self._prepare = prepare
        self._tell = tell
        self._tell_trouble = tell_trouble
        self._session: asyncio.Future[Session] = asyncio.get_running_loop().create_future()
        self._last_error: Exception | None = None
        self._failure: BaseException | None = None
        """Why a session was ended, where it was not the connection."""

    @property
    def place(self) -> str:
        """The broker, for people."""
        return ", ".join(self.servers)

    async def run(self) -> None:
        """Connect, again and again, until cancelled."""
        tries = 0
        while True:
            session = None
            try:
                session = await self._connect()
                await self._prepare(session)
            # nats-py raises ValueError for much that a server may send.
            except (*FAILURES, BrokerError, ValueError) as error:
                self._tell("", f"cannot reach the broker at {self.place}: {self._why(error)}")
                if session is not None:
                    await _close(session.client)
                tries += 1
                pause = min(0.1 * 2**tries, _LONGEST_PAUSE)
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - no secret: hosts should not try at once
                continue
            tries = 0
            way = "JetStream" if session.jetstream else "core NATS"
            self._tell(f"{self.place} ({way})", "")
            self._session.set_result(session)
            try:
                await session.ended.wait()
            finally:
                self._session = asyncio.get_running_loop().create_future()
                await _close(session.client)
            why = self._why(self._failure) if self._failure else "the connection was lost; it is tried again"
            self._failure = None
            self._tell("", f"cannot reach the broker at {self.place}: {why}")

    def end(self, session: Session, failure: BaseException) -> None:
        """End a session in which something failed that the next one may do better."""
        self._failure = failure
        session.ended.set()

    def now(self) -> Session | None:
        """Return the session, if there is one just now."""
        is_there = self._session.done() and not self._session.result().ended.is_set()
        return self._session.result() if is_there else None

    async def call(self, operation: Callable[[Session], Awaitable[T]]) -> T:
        """Do something with a session; when it fails because the broker is away, do it again with the next one.

        Raises BrokerError where the broker is there and does not take it. Waits for ever: the caller has the deadline.
        """
        tries = 0
        while True:
            session = await asyncio.shield(self._session)
            try:
                result = await operation(session)
            except FAILURES as error:
                failure = error
            else:
                self._tell_trouble("")
                return result
            tries += 1
            if tries >= _TRIES_BEFORE_TROUBLE and not session.ended.is_set():
                self._tell_trouble(f"the broker at {self.place} does not do what it is asked: {self._why(failure)}")
            # A broker that starts, or loses its leader, does not answer for a moment though it is connected.
            pause = min(0.05 * 2**tries, _LONGEST_PAUSE)
            await asyncio.sleep(pause)

    async def _connect(self) -> Session:
        client, ended = Client(), asyncio.Event()
        self._last_error = None

        async def on_error(error: Exception) -> None:
            self._last_error = error

        async def on_end() -> None:
            ended.set()

        def only_by_tls(secret: str) -> Callable[[], str]:
            def give() -> str:
                self._refuse_plain(client)
                return secret

            return give

        secrets = {
            key: only_by_tls(value) for key, value in self._options.items() if key in ("user", "password", "token")
        }
        await client.connect(
            servers=list(self.servers),
            **{**self._options, **secrets},
            name="mlflow-systemd",
            allow_reconnect=False,
            # Each server once.
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=CONNECT_TIMEOUT,
            ping_interval=_PING_INTERVAL,
            max_outstanding_pings=2,
            error_cb=on_error,
            disconnected_cb=on_end,
            closed_cb=on_end,
        )
        try:
            self._refuse_plain(client)
            return Session(client, await self._jetstream(client), ended)
        except BaseException:
            await _close(client)
            raise

    def _refuse_plain(self, client: Client) -> None:
        """Raise NoTlsError where TLS is meant and the server did not ask for it: nats-py would go on without."""
        is_meant = "tls" in self._options or any(server.startswith("tls://") for server in self.servers)
        # nats-py has no public name for what the server said.
        if is_meant and not client._server_info.get("tls_required"):
            raise NoTlsError

    async def _jetstream(self, client: Client) -> JetStreamContext | None:
        if self._mode == "never":
            return None
        jetstream = client.jetstream(timeout=CALL_TIMEOUT)
        try:
            await jetstream.account_info()
        except APIError as error:
            # Nobody answers for JetStream, or the account has none.
            is_off = isinstance(error, ServiceUnavailableError) or error.err_code == _NOT_FOR_ACCOUNT
            if not is_off:
                raise
            if self._mode == "auto":
                return None
            raise BrokerError("it has no JetStream; switch it on there, or set nats.jetstream to auto") from None
        return jetstream

    def _why(self, error: BaseException) -> str:
        """Say why there is no connection, and what to do."""
        if isinstance(error, BrokerError):
            return str(error)
        # Without a server nats-py says only that none is left, and of what is not permitted that it took too long.
        told = self._last_error
        says_more = told is not None and (
            isinstance(error, nats.errors.NoServersError) or _NOT_PERMITTED in str(told).lower()
        )
        cause = told if says_more and told is not None else error
        words = one_line(str(cause).removeprefix("nats: ").strip(" '"), 200) or type(cause).__name__
        lower = words.lower()
        if _NOT_PERMITTED in lower:
            return f"{words}; permit it to the login of the host, as docs/nats.md says"
        if "authorization" in lower or "authentication" in lower:
            return f"{words}; put the right login into the credentials 'nats.*' of the host"
        if "certificate" in lower:
            return f"{words}; put the broker's authority into the credential 'nats.ca' of the host"
        if isinstance(cause, NoTlsError):
            return words
        return f"{words}; it is tried again"


async def flush(client: Client) -> None:
    """Wait until the broker has everything that was published before. Raises one of FAILURES."""
    # The first may be on its way before what was published, the second is not.
    await client.flush(CALL_TIMEOUT)
    await client.flush(CALL_TIMEOUT)
    # While a connection ends, nats-py's own flush returns without a word of the broker.
    if not client.is_connected:
        raise nats.errors.ConnectionClosedError


async def _close(client: Client) -> None:
    """End a client, whatever state it is in."""
    # What fails here is gone already, and nothing is left to be sent.
    with suppress(*FAILURES):
        await asyncio.wait_for(client.close(), CALL_TIMEOUT)
