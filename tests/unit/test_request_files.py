"""How requests and answers pass between the command and the reconciler, whatever else is in their directory."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import pytest
from structlog.testing import capture_logs

from reconciler.core.operators.context import DeploymentSummary, RequestContext
from reconciler.core.operators.requests import Request
from reconciler.core.operators.verbs import Verb
from reconciler.core.state.ledger import Agreed, Ledger, Record
from reconciler.core.state.snapshot import Source
from reconciler.core.units.names import ReleaseId
from reconciler.files import request_inbox
from reconciler.files.ledger_file import LedgerFile
from reconciler.files.request_answer import MAX_BYTES, RequestAnswer
from reconciler.files.request_client import NoAnswerError, RequestClient
from reconciler.files.request_inbox import ABANDONED, STALE, AnsweredRequest, RequestInbox
from tests.unit.disk import refusing

WANTED = ReleaseId("4.00000004")
ROLLOUT = Request(verb=Verb.ROLLOUT, name="x", by="jane")


def facts(_ledger: Ledger) -> RequestContext:
    """A host with one deployment."""
    return RequestContext(
        Agreed(source=Source(registry="http://r")), {"x": DeploymentSummary((WANTED,), WANTED, WANTED)}
    )


@dataclass
class Site:
    """The state directory of a host, and both sides of what passes through it."""

    state: Path
    clock: float = 0.0
    meanwhile: Iterator[Callable[[], object]] = field(default_factory=lambda: iter(()))
    """What happens while the command waits, one after the other."""

    def __post_init__(self) -> None:
        self.directory = self.state / "requests"
        self.requests = RequestInbox(self.directory, os.getuid())
        self.ledger = LedgerFile(self.state / "ledger.json")
        self.asker = RequestClient(self.directory, os.getuid(), 15.0, lambda: self.clock, self._pause)

    def _pause(self, seconds: float) -> None:
        self.clock += seconds
        next(self.meanwhile, lambda: None)()

    def serve(self) -> tuple[AnsweredRequest, ...]:
        """What a pass of the reconciler does; gives what it noted."""
        noted: list[AnsweredRequest] = []
        self.requests.serve(self.ledger, facts, datetime.now(UTC), lambda: None, noted.append)
        return tuple(noted)

    def put(self, name: str, content: bytes = ROLLOUT.model_dump_json(by_alias=True).encode()) -> Path:
        """Put a file there, as the command does."""
        path = self.directory / name
        path.write_bytes(content)
        path.chmod(0o600)
        return path

    def answers(self) -> dict[str, RequestAnswer]:
        """By the request's id."""
        found = self.directory.glob("*.answer")
        return {path.stem: RequestAnswer.model_validate_json(path.read_bytes()) for path in found}

    def names(self) -> set[str]:
        """What lies in the directory."""
        return {path.name for path in self.directory.iterdir()}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A host on which a reconciler has started."""
    site = Site(tmp_path)
    site.requests.prepare()
    return site


def test_a_request_is_carried_out_and_answered(site: Site) -> None:
    """And nothing of it is left, in a directory that only root may enter."""
    site.meanwhile = iter([site.serve])
    answer = site.asker.ask("1-1", ROLLOUT)
    assert answer == RequestAnswer(schema=1, ok=True, message="version 4 of x is rolled out anew")
    assert LedgerFile(site.state / "ledger.json").ledger.record("x") == Record(generation=1)
    assert site.names() == set()
    assert site.directory.stat().st_mode & 0o777 == 0o700


def test_a_refused_request_is_answered_too(site: Site) -> None:
    """With the sentence that says why; the ledger stays as it is."""
    request = Request(verb=Verb.RESUME, name="x", by="jane")
    site.meanwhile = iter([site.serve])
    answer = site.asker.ask("1-1", request)
    assert (answer.ok, answer.message.startswith("cannot resume x: ")) == (False, True)
    assert site.ledger.ledger == Ledger(schema=1)


def test_the_pass_learns_what_was_done(site: Site) -> None:
    """For the journal, and to forget what waits for a next try."""
    site.put("1-1.json")
    assert site.serve() == (AnsweredRequest(ROLLOUT, True, "version 4 of x is rolled out anew"),)
    assert site.serve() == ()


def test_nothing_is_answered_that_was_not_noted(site: Site) -> None:
    """A crash in between must not lose what a person did."""
    site.put("1-1.json")

    def crash(_: AnsweredRequest) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        site.requests.serve(site.ledger, facts, datetime.now(UTC), lambda: None, crash)
    assert site.answers() == {}


def test_requests_are_carried_out_in_the_order_in_which_they_were_asked(site: Site) -> None:
    """Each sees what became of those before it."""
    suspend = Request(verb=Verb.SUSPEND, name="x", by="jane")
    resume = Request(verb=Verb.RESUME, name="x", by="jane")
    site.put("20-1.json", resume.model_dump_json(by_alias=True).encode())
    site.put("10-7.json", suspend.model_dump_json(by_alias=True).encode())
    assert [(done.request.verb, done.ok) for done in site.serve()] == [("suspend", True), ("resume", True)]


def fifo(path: Path) -> None:
    """Nobody writes into it."""
    os.mkfifo(path, 0o600)


def symlink(path: Path) -> None:
    """To a file that is a request."""
    good = path.parents[1] / "good"
    good.write_bytes(ROLLOUT.model_dump_json(by_alias=True).encode())
    path.symlink_to(good)


def full_directory(path: Path) -> None:
    """Not even a file."""
    path.mkdir()
    (path / "more").touch()


def written(content: bytes, mode: int = 0o600) -> Callable[[Path], None]:
    """A file with this content."""

    def make(path: Path) -> None:
        path.write_bytes(content)
        path.chmod(mode)

    return make


ODD: dict[str, Callable[[Path], None]] = {
    "a FIFO": fifo,
    "a symlink": symlink,
    "a directory": full_directory,
    "an empty file": written(b""),
    "no JSON": written(b"{"),
    "no text": written(b"\xff\xfe"),
    "another document": written(b'["schema"]'),
    "an unknown verb": written(b'{"schema": 1, "verb": "destroy", "name": "x", "by": "jane"}'),
    "a path for a name": written(b'{"schema": 1, "verb": "retry", "name": "../x", "by": "jane"}'),
    "a huge file": written(b" " * (MAX_BYTES + 1)),
    "one that others may change": written(ROLLOUT.model_dump_json(by_alias=True).encode(), 0o666),
}


@pytest.mark.parametrize("kind", list(ODD))
def test_what_is_no_request_is_answered_and_removed(site: Site, kind: str) -> None:
    """And does not keep the next from being carried out."""
    ODD[kind](site.directory / "1-1.json")
    site.put("2-1.json")
    with capture_logs() as lines:
        assert [done.ok for done in site.serve()] == [True]
    answers = site.answers()
    assert [answers["1-1"].ok, answers["2-1"].ok] == [False, True]
    assert answers["1-1"].message.startswith("cannot carry out the request: ")
    assert [line["log_level"] for line in lines] == ["warning"]
    assert site.names() == {"1-1.answer", "2-1.answer"}


def test_a_request_of_another_user_is_not_carried_out(site: Site) -> None:
    """The directory is root's, but a file can be moved into it with its owner."""
    site.put("1-1.json")
    RequestInbox(site.directory, os.getuid() + 1).serve(
        site.ledger, facts, datetime.now(UTC), lambda: None, lambda _: None
    )
    assert "owned by user" in site.answers()["1-1"].message
    assert site.ledger.ledger == Ledger(schema=1)


def test_a_file_without_the_name_of_a_request_is_removed(site: Site) -> None:
    """Nobody could be answered; what is still being written is left alone."""
    site.put("Something else.json")
    site.put(f"{'1' * 240}.json")
    site.put(".1-1.json.new")
    with capture_logs() as lines:
        assert site.serve() == ()
    assert site.names() == {".1-1.json.new"}
    assert len(lines) == 2


def test_a_request_that_nobody_waits_for_any_more_is_not_carried_out(site: Site) -> None:
    """It may have been asked before a long outage."""
    path = site.put("1-1.json")
    os.utime(path, (0, path.stat().st_mtime - STALE - 1))
    assert site.serve() == ()
    assert site.answers()["1-1"].message == "cannot carry out the request: it is too old; ask again"


def test_without_a_directory_there_is_nothing_to_do(tmp_path: Path) -> None:
    """Whoever asks makes it; what is in its place is told and does not end a pass."""
    site = Site(tmp_path)
    assert site.serve() == ()
    site.meanwhile = iter([site.serve])
    assert site.asker.ask("1-1", ROLLOUT).ok
    site.directory.rmdir()
    site.directory.touch()
    with capture_logs() as lines:
        site.requests.prepare()
        assert site.serve() == ()
    assert "Not a directory" in str(lines)


def test_where_no_reconciler_runs_the_request_is_taken_back(site: Site) -> None:
    """So that it is not carried out when one starts."""
    with pytest.raises(NoAnswerError, match=r"^the reconciler does not answer$"):
        site.asker.ask("1-1", ROLLOUT)
    assert 15.0 <= site.clock < 16.0
    assert site.names() == set()


def test_whoever_gives_up_takes_the_request_back(site: Site) -> None:
    """Control-C is one way to give up."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    site.meanwhile = iter([interrupt])
    with pytest.raises(KeyboardInterrupt):
        site.asker.ask("1-1", ROLLOUT)
    assert site.names() == set()


def test_a_taken_request_is_waited_for_longer(site: Site) -> None:
    """It cannot be taken back any more."""

    def take() -> None:
        (site.directory / "1-1.json").rename(site.directory / "1-1.taken")

    def late() -> None:
        if site.clock > 20 and (site.directory / "1-1.taken").exists():
            site.requests.answer("1-1", True, "done at last")

    site.meanwhile = iter([take, *[late] * 1000])
    assert site.asker.ask("1-1", ROLLOUT).message == "done at last"


def test_a_taken_request_without_an_answer_is_told(site: Site) -> None:
    """Nobody knows what became of it."""
    site.meanwhile = iter([(lambda: (site.directory / "1-1.json").rename(site.directory / "1-1.taken"))])
    with pytest.raises(NoAnswerError, match="does not say what became of it"):
        site.asker.ask("1-1", ROLLOUT)
    assert 30.0 <= site.clock < 31.0


class Killed(BaseException):
    """The end of the process."""


@pytest.mark.parametrize("where", ["carry_out", "replace_file", "_remove"])
def test_a_request_is_never_carried_out_twice(site: Site, where: str) -> None:
    """However a reconciler is killed in it: the next says that it does not know, or what the former said."""
    site.put("1-1.json")
    with mock.patch.object(request_inbox, where, side_effect=Killed), pytest.raises(Killed):
        site.serve()
    carried_out = LedgerFile(site.state / "ledger.json").ledger.record("x").generation
    assert carried_out == (0 if where == "carry_out" else 1)
    again = Site(site.state)
    again.requests.prepare()
    assert again.serve() == ()
    assert again.ledger.ledger.record("x").generation == carried_out
    expected = "version 4 of x is rolled out anew" if where == "_remove" else "cannot tell what the reconciler did: "
    assert again.answers()["1-1"].message.startswith(expected)
    assert again.names() == {"1-1.answer"}


def test_what_cannot_be_written_down_is_done_and_said_to_be_forgotten_by_a_restart(site: Site) -> None:
    """The ledger's disk is full: whoever has to go back must not have to make room first."""
    site.put("1-1.json")
    path = site.state / "ledger.json"
    with refusing(lambda written: written == path):
        assert [done.ok for done in site.serve()] == [True]
    assert site.answers()["1-1"].message == (
        "version 4 of x is rolled out anew; until that is mended, a restart of the reconciler forgets it: "
        f"cannot save the ledger: {path}: No space left on device; make room there"
    )
    assert site.ledger.ledger.record("x").generation == 1
    site.ledger.keep()
    assert (site.ledger.problem, LedgerFile(path).ledger) == ("", site.ledger.ledger)


def test_an_answer_that_cannot_be_written_does_not_end_the_pass(site: Site) -> None:
    """What was asked is done, and it is not done again."""
    site.put("1-1.json")
    full = OSError(28, os.strerror(28))
    with mock.patch.object(request_inbox, "replace_file", side_effect=full), capture_logs() as lines:
        assert [done.ok for done in site.serve()] == [True]
    assert "the answer is: version 4 of x is rolled out anew" in lines[0]["event"]
    assert site.serve() == ()
    assert site.names() == set()


def test_what_nobody_fetched_is_swept_after_an_hour(site: Site) -> None:
    """Answers, and what an interrupted command left half written."""
    for name in ("1-1.answer", ".2-1.json.new", "3-1.answer"):
        site.put(name)
    now = (site.directory / "1-1.answer").stat().st_mtime
    os.utime(site.directory / "3-1.answer", (now + ABANDONED, now + ABANDONED))
    site.requests.sweep(now + ABANDONED - 1)
    assert len(site.names()) == 3
    site.requests.sweep(now + ABANDONED + 60)
    assert site.names() == {"3-1.answer"}


def test_an_answer_is_one_line_that_can_be_read(site: Site) -> None:
    """However long and odd it is."""
    site.requests.answer("1-1", True, "word\n" * 10_000)
    path = site.directory / "1-1.answer"
    assert path.stat().st_size < MAX_BYTES
    assert "\n" not in json.loads(path.read_text())["message"]
