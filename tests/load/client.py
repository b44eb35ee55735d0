"""One client: writes a request, reads its answer, and keeps its connection or makes a new one. It never retries."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
from dataclasses import dataclass
from time import monotonic

from tests.load.answer import Answers, Head, MalformedError
from tests.load.judge import Judge

_READABLE = select.EPOLLIN
_BOTH = select.EPOLLIN | select.EPOLLOUT
_KINDS: tuple[tuple[type[OSError], str], ...] = (
    (ConnectionRefusedError, "refused"),
    (ConnectionResetError, "reset"),
    (BrokenPipeError, "reset"),
    (TimeoutError, "timeout"),
)


@dataclass(frozen=True, slots=True)
class Target:
    """Where a client connects to."""

    family: socket.AddressFamily
    address: tuple[str, int] | str

    def __str__(self) -> str:
        return self.address if isinstance(self.address, str) else f"{self.address[0]}:{self.address[1]}"


class Client:
    """What one client has under way, and its connection, which is in `watched` by its descriptor while it is open."""

    def __init__(
        self,
        target: Target,
        request: bytes,
        judge: Judge,
        poll: select.epoll,
        watched: dict[int, Client],
        *,
        keep: bool,
    ) -> None:
        """It has no connection yet."""
        self.asking = False
        self.harmed = False
        """Whether its last request failed."""
        self._target = target
        self._request = request
        self._judge = judge
        self._poll = poll
        self._watched = watched
        self._keep = keep
        self._began = 0.0
        self._connected = 0.0
        self._requests = 0
        """How many on this connection."""
        self._release = ""
        """Who gave the last answer on this connection."""
        self._socket: socket.socket | None = None
        self._interest = 0
        self._unsent = memoryview(b"")
        self._answers = Answers()

    def __str__(self) -> str:
        release = f" after {self._release}" if self._release else ""
        return f"{self._target}, request {self._requests} of its connection{release}"

    def begin(self, now: float) -> None:
        """Asks, on the connection that it kept or on a new one."""
        if self._socket is not None and self._is_closed(self._socket):
            self._closed_unannounced(now)
        self.asking = True
        self.harmed = False
        self._began = now
        self._unsent = memoryview(self._request)
        try:
            connection = self._socket or self._connect(now)
            self._requests += 1
            self._send(connection)
        except OSError as error:
            self._fail_for(error)

    def ready(self, events: int, now: float) -> None:
        """Something happened on its connection."""
        connection = self._socket
        if connection is None:
            return
        if not self.asking:
            self._closed_unannounced(now)
            return
        try:
            if events & ~select.EPOLLOUT:
                self._receive(connection)
            if self.asking and self._unsent:
                self._send(connection)
        except MalformedError as error:
            self._fail("malformed", str(error))
        except OSError as error:
            self._fail_for(error)

    def give_up(self, now: float, timeout: float) -> bool:
        """Fails the request under way if it took too long; whether it did."""
        if not self.asking or now - self._began < timeout:
            return False
        self._fail("timeout", f"no complete answer in {timeout} s")
        return True

    def close(self) -> None:
        """Ends the connection."""
        if self._socket is None:
            return
        if self._interest:
            del self._watched[self._socket.fileno()]
        self._socket.close()  # epoll forgets it with that
        self._socket = None
        self._interest = 0
        self._requests = 0
        self._release = ""

    def _connect(self, now: float) -> socket.socket:
        self._connected = now
        self._answers = Answers()
        connection = self._socket = socket.socket(self._target.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        if self._target.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        status = connection.connect_ex(self._target.address)
        # Of a unix socket EAGAIN says that the backlog is full, and nothing is under way.
        if status not in (0, errno.EINPROGRESS):
            raise OSError(status, f"{errno.errorcode[status]} from connect()")
        return connection

    def _send(self, connection: socket.socket) -> None:
        # While the connection is not there yet, this would block too, and an error of connect() is raised.
        with contextlib.suppress(BlockingIOError):
            self._unsent = self._unsent[connection.send(self._unsent) :]
        interest = _BOTH if self._unsent else _READABLE
        if not self._interest:
            self._poll.register(connection, interest)
            self._watched[connection.fileno()] = self
        elif interest != self._interest:
            self._poll.modify(connection, interest)
        self._interest = interest

    def _receive(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(1 << 16)
        except BlockingIOError:
            return
        found = self._answers.feed(data) if data else self._answers.end()
        if found:
            self._answered(*found)
        elif not data:
            self._fail("eof", "the connection ended before a complete answer")

    def _answered(self, head: Head, body: bytes) -> None:
        now = monotonic()
        first = self._requests == 1
        self._judge.answered(head, body, now, self._connected if first else None, self)
        self.asking = False
        self._release = head.release
        if not self._keep:
            self.close()
        elif head.closes:
            self._judge.closed(now, self, announced=True)
            self.close()
        elif self._unsent:
            self.close()  # answered before the request was complete: what is left of it would begin the next one

    def _fail_for(self, error: OSError) -> None:
        self._fail(next((name for kind, name in _KINDS if isinstance(error, kind)), "other"), str(error))

    def _fail(self, kind: str, why: str) -> None:
        self._judge.failed(kind, why, monotonic(), self)
        self.asking = False
        self.harmed = True
        self.close()

    def _closed_unannounced(self, now: float) -> None:
        self._judge.closed(now, self, announced=False)
        self.close()

    def _is_closed(self, connection: socket.socket) -> bool:
        try:
            connection.recv(1)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True  # the end, or bytes that answer nothing
