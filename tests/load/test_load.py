"""Every request is counted once, as what became of it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.load import Load, LoadError, Totals
from tests.load.scripted import Reply, Script, Scripted, answer

ONE, TWO = "echo@1.0badcafe", "echo@2.0badcafe"
BODIES = {"1": {"output": [0.1], "diagnosis": "negative"}, TWO: {"output": [2], "diagnosis": "positive"}}
RIGHT = answer(ONE, BODIES["1"])
Serve = Callable[..., Scripted]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Whatever has to end with the test."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def tcp(stack: ExitStack) -> socket.socket:
    """A bound socket, which nobody listens on yet."""
    found = stack.enter_context(socket.socket())
    found.bind(("127.0.0.1", 0))
    return found


def serving(stack: ExitStack, listener: socket.socket, script: Script | bytes) -> Scripted:
    """A server that replies as the script says, or always with the same."""
    listener.listen()
    return stack.enter_context(
        Scripted(listener, (lambda _, __: Reply(script)) if isinstance(script, bytes) else script)
    )


def load(tcp: socket.socket, **options: Any) -> Load:
    """A load of two clients, one of either sort."""
    return Load(BODIES, tcp=tcp.getsockname(), **{"connections": 2, **options})


def outcome(load: Load, enough: Callable[[Totals], object]) -> Totals:
    """The final totals of a load that runs until it has seen enough."""
    with load:
        load.wait_until(enough, "the test has seen enough")
    return load.totals


def test_right_answers_are_counted_by_release_over_both_kinds_of_sockets(
    stack: ExitStack, tcp: socket.socket, tmp_path: Path
) -> None:
    """Half of the connections are kept; every one of the others is new; all have the same request."""
    unix = stack.enter_context(socket.socket(socket.AF_UNIX))
    unix.bind(str(tmp_path / "sock"))
    (tmp_path / "a.wav").write_bytes(bytes(range(256)) * 4096)
    requests: list[bytes] = []

    def script(_: int, request: bytes) -> Reply:
        requests.append(request.partition(b"\r\n\r\n")[2])
        return Reply(RIGHT)

    serving(stack, tcp, script)
    serving(stack, unix, answer(TWO, BODIES[TWO]))
    before = time.monotonic()
    part = ("frase", tmp_path / "a.wav")
    with load(tcp, unix=tmp_path / "sock", connections=4, part=part, metadata={"age": 23}) as running:
        running.wait_for_more(20, release="1")
        running.wait_for_more(20, release=TWO)
    totals = running.totals
    assert totals.harm() == []
    assert totals.right == totals.requests == totals.right_from("1") + totals.right_from("2")
    for release in totals.releases.values():
        assert 1 < release.connections < release.right
        assert before < release.first < release.last < totals.at
        assert before < release.latest_connect < release.last
    assert len(set(requests)) == 1
    assert b'name="metadata"\r\nContent-Type: application/json\r\n\r\n{"age": 23}\r\n' in requests[0]
    assert b'name="frase"; filename="a.wav"' in requests[0]
    assert (tmp_path / "a.wav").read_bytes() in requests[0]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (answer(ONE, BODIES[TWO]), (ONE, 200)),
        (answer("echo@3.0badcafe", BODIES["1"]), ("echo@3.0badcafe", 200)),
        (answer(ONE, BODIES["1"], status=500), (ONE, 500)),
        (answer("", BODIES["1"]), ("", 200)),
    ],
    ids=["body", "release", "status", "no release"],
)
def test_an_answer_that_is_not_as_expected_is_wrong(
    stack: ExitStack, tcp: socket.socket, content: bytes, expected: tuple[str, int]
) -> None:
    """It is counted by its release and status, and an example says what it was."""
    serving(stack, tcp, content)
    totals = outcome(load(tcp), lambda now: now.wrong.get(expected, 0) > 20)
    assert totals.wrong == {expected: totals.requests}
    assert set(totals.releases) == {expected[0]} - {""}
    assert len(totals.examples) == 5
    assert all(str(expected[1]) in example for example in totals.examples)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(b"", "close"), "eof"),
        (Reply(RIGHT[:-3], "close"), "eof"),
        (Reply(RIGHT[:-3], "reset"), "reset"),
        (Reply(RIGHT[:20], "wait"), "timeout"),
        (Reply(RIGHT + b"?", "wait"), "malformed"),
        (Reply(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "wait"), "malformed"),
    ],
    ids=["nothing", "half", "reset", "silence", "too much", "not HTTP"],
)
def test_a_request_without_one_complete_answer_has_failed(
    stack: ExitStack, tcp: socket.socket, reply: Reply, kind: str
) -> None:
    """It is not asked again, and the sentence says who had answered on that connection."""
    serving(stack, tcp, lambda number, _: Reply(RIGHT) if number == 1 else reply)
    timeout = 0.5 if kind == "timeout" else 60.0
    kept = outcome(load(tcp, connections=1, kept=1, timeout=timeout), lambda now: now.failed)
    assert kept.failed == {kind: kept.requests - kept.right}
    assert kept.closed_unannounced == kept.closed_announced == 0
    assert f"request 2 of its connection after {ONE}: {kind}: " in kept.examples[0]


def test_nobody_listening_is_a_failure_of_every_request(tcp: socket.socket) -> None:
    """It is asked on, but not without a pause."""
    totals = outcome(load(tcp), lambda now: now.failed.get("refused", 0) >= 4)
    assert totals.failed == {"refused": totals.requests}
    assert totals.releases == {}


def test_a_unix_socket_that_is_not_there_is_a_failure(tmp_path: Path) -> None:
    """There is no kind of its own for it, but a sentence."""
    totals = outcome(Load(BODIES, unix=tmp_path / "sock"), lambda now: now.failed)
    assert totals.failed == {"other": totals.requests}
    assert "ENOENT" in totals.examples[0]


def test_an_announced_end_of_a_connection_is_no_loss(stack: ExitStack, tcp: socket.socket) -> None:
    """HTTP demands a new connection then."""
    closing = answer(ONE, BODIES["1"], headers="Connection: close\r\n")
    serving(stack, tcp, lambda number, _: Reply(closing, "close") if number == 3 else Reply(RIGHT))
    totals = outcome(load(tcp, connections=1, kept=1), lambda now: now.closed_announced >= 3)
    assert totals.harm() == []
    assert totals.releases[ONE].connections - totals.closed_announced in (0, 1)


def test_a_kept_connection_found_closed_is_counted_separately(stack: ExitStack, tcp: socket.socket) -> None:
    """Nothing was asked on it, so no request is lost; but another client would have asked."""
    serving(stack, tcp, lambda _, __: Reply(RIGHT, "close"))
    totals = outcome(load(tcp, connections=1, kept=1, rate=4), lambda now: now.closed_unannounced >= 2)
    assert totals.right == totals.requests
    assert totals.harm()[0] == f"{totals.closed_unannounced} closed unannounced"


def test_an_end_that_came_with_the_answer_is_seen_before_the_next_request(tcp: socket.socket) -> None:
    """However soon that follows."""
    tcp.listen()
    with load(tcp, connections=1, kept=1) as running:
        connection, _ = tcp.accept()
        with connection:
            connection.recv(1 << 16)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)  # the end goes with what is sent
            connection.sendall(RIGHT)
        running.wait_until(lambda now: now.closed_unannounced, "the end is seen")
        tcp.close()
    assert (running.totals.right, running.totals.closed_unannounced) == (1, 1)


@pytest.mark.parametrize(
    "content",
    [
        f"HTTP/1.1 200 OK\r\nmodel-release:{ONE}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
        + b'e\r\n{"output":[0.1\r\n19;x=y\r\n],"diagnosis":"negative"}\r\n0\r\n\r\n',
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + RIGHT,
    ],
    ids=["chunked", "provisional"],
)
def test_other_forms_of_a_right_answer_are_understood(stack: ExitStack, tcp: socket.socket, content: bytes) -> None:
    """They are what HTTP allows, and the connection stays usable."""
    serving(stack, tcp, content)
    totals = outcome(load(tcp), lambda now: now.right > 20)
    assert totals.harm() == []


def test_an_answer_that_ends_with_its_connection_is_complete(stack: ExitStack, tcp: socket.socket) -> None:
    """It announces the end by having no length."""
    content = f"HTTP/1.1 200 OK\r\nmodel-release: {ONE}\r\n\r\n{json.dumps(BODIES['1'])}".encode()
    serving(stack, tcp, lambda _, __: Reply(content, "close"))
    assert outcome(load(tcp), lambda now: now.right > 20).harm() == []


def test_the_latest_connect_says_who_took_new_connections(stack: ExitStack, tcp: socket.socket) -> None:
    """After a release is replaced, nothing that connected later is answered by it."""
    server = serving(stack, tcp, RIGHT)
    with load(tcp, kept=0) as running:
        running.wait_for_more(20)
        server.script = lambda _, __: Reply(answer(TWO, BODIES[TWO]))
        replaced = time.monotonic()
        running.wait_for_more(20, release="2")
    assert running.totals.harm() == []
    assert 0 < running.totals.latest_connect("1") < replaced < running.totals.latest_connect("2")


def test_the_rate_is_limited_and_the_seconds_are_too(stack: ExitStack, tcp: socket.socket) -> None:
    """It ends by itself, and whoever waits for more is told."""
    serving(stack, tcp, RIGHT)
    before = time.monotonic()
    with load(tcp, rate=50, seconds=0.5) as running:
        running.wait_for_more(3)
        with pytest.raises(LoadError, match="ended before 1000 more"):
            running.wait_for_more(1000)
    assert 3 <= running.totals.right <= 50 * (running.totals.at - before) + 1


def test_what_is_under_way_is_answered_before_it_ends(tcp: socket.socket) -> None:
    """SIGTERM ends it as the end of its stdin does; a request is never given up for that."""
    tcp.listen()
    command = [sys.executable, "-m", "tests.load", f"--expected={json.dumps(BODIES)}", "--connections=1"]
    command.append(f"--tcp=127.0.0.1:{tcp.getsockname()[1]}")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        connection, _ = tcp.accept()
        with connection:
            connection.recv(1)
            process.send_signal(signal.SIGTERM)
            signalled = time.monotonic()
            while Totals.from_json(process.stdout.readline()).at < signalled + 0.2:
                pass  # it has looked for signals since
            connection.sendall(RIGHT)
            *_, last = process.stdout
    totals = Totals.from_json(last)
    assert (totals.right, totals.requests) == (1, 1)
