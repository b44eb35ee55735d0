"""The audit log: what comes into it, that nothing is lost or twice, and that changes of it show."""

import contextlib
import errno
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from reconciler.adapters.audit_key import AuditKeyError, audit_signer
from reconciler.cli.main import app
from reconciler.core.operators.requests import Request
from reconciler.core.operators.verbs import Verb
from reconciler.core.state.audit import NOTHING_BEFORE, breaks, hash_of, read_line
from reconciler.core.state.release import Release
from reconciler.core.units import names
from reconciler.daemon.desired import defaults
from reconciler.files import audit_file
from reconciler.files.atomic import replace_file
from reconciler.files.audit_file import AuditFile, audit_lines
from reconciler.files.history_file import HistoryFile, read_history
from tests.unit.conftest import CHECKOUT, World
from tests.unit.disk import refusing
from tests.unit.rollouts import BROKEN, active_release, deploy, rolled_out

BLOCKS = re.findall(r"^```sh\n(.*?)^```", (CHECKOUT / "docs" / "audit.md").read_text(), re.MULTILINE | re.DOTALL)
# The tests bring the lines themselves.
COMMANDS = [block.replace("reconciler history --export >audit.jsonl\n", "") for block in BLOCKS if "<audit" in block]


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A host whose releases have a soak, and which keeps one release to go back to."""
    return World(tmp_path / "host", settings=deploy())


def lines(world: World) -> list[bytes]:
    """The log as it is on disk."""
    return list(audit_lines(world.state / "audit"))


def told(world: World) -> list[str]:
    """What the log tells, in short."""
    entries = [read_line(line)[0] for line in lines(world)]
    return [f"{one.event} {one.name} {one.version or ''}".strip() for one in entries]


def documents(world: World) -> list[dict[str, object]]:
    """The lines, as any program reads them."""
    return [json.loads(line) for line in lines(world)]


def ask(world: World, verb: Verb, why: str = "") -> None:
    """Ask for something as the command does."""
    request = Request(verb=verb, name="demo", by="ana", why=why)
    directory = world.state / "requests"
    directory.mkdir(mode=0o700, exist_ok=True)
    replace_file(directory / "1.json", request.model_dump_json(by_alias=True).encode(), 0o600)


def test_the_log_tells_what_served_from_what_and_why_it_ended(world: World) -> None:
    """Also what a person asked, and also after everything is removed."""
    rolled_out(world, 1, 2)
    release = active_release(world)
    ask(world, Verb.ROLLBACK, "it looks wrong")
    world.converge()
    world.select()
    world.converge()
    assert told(world) == [
        "began demo 1",
        "ended demo 1",
        "began demo 2",
        "asked demo",
        "ended demo 2",
        "began demo 1",
        "ended demo 1",
    ]
    _, first_end, second, asked, second_end, _, removed = documents(world)
    assert first_end["why"] == "version 2 took over"
    assert (second["release"], second["number"]) == (release, 3)
    origin = second["origin"]
    assert isinstance(origin, dict)
    assert (origin["source"], origin["selected_by"]) == ("models:/m-demo2", "stage:Production")
    assert len(origin["files"]) == len(origin["environment_files"]) == 64
    assert origin["environment"] == world.environment("demo", 2)
    assert asked["asked"] == {
        "verb": "rollback",
        "by": "ana",
        "why": "it looks wrong",
        "done": True,
        "answer": "demo goes back to version 1; version 2 is not tried before reconciler retry demo",
    }
    assert second_end["why"] == "rolled back by ana: it looks wrong"
    assert removed["why"] == "the registry no longer selects it"
    assert not list(breaks(lines(world)))


def test_the_log_tells_who_registered_and_who_says_to_have_promoted(world: World) -> None:
    """As far as MLflow tells; a version that says nothing of it is served as well."""
    model = {
        **{"name": "demo", "version": 1, "source": "s", "selected_by": "alias:champion", "promoted_by": "Dr. Ana"},
        **{"registered_by": "bob", "registered_at": "2026-01-01T10:00:00Z", "changed_at": "2026-01-02T10:00:00Z"},
    }
    world.write_snapshot({"schema": 1, "registry": "http://r", "read_at": "2026-01-03T00:00:00Z", "models": [model]})
    world.converge()
    (began,) = documents(world)
    assert isinstance(began["origin"], dict)
    assert {**began["origin"], **model, "registry": "http://r"} == {**began["origin"], **model}


def test_what_is_rejected_is_told_with_its_reason(world: World) -> None:
    """It never served, and is in the log all the same."""
    rolled_out(world, 1)
    release = Release("demo", 2, "models:/m-demo2", defaults(world.settings).parameters).id
    world.failures[names.server_unit("demo", release)] = BROKEN
    world.select(demo=2)
    world.converge()
    assert told(world) == ["began demo 1", "rejected demo 2"]
    assert "cannot load the model" in str(documents(world)[1]["why"])


def test_the_history_of_a_former_version_comes_into_the_log_once(world: World) -> None:
    """Its file has no fields for the log."""
    rolled_out(world, 1, 2)
    shutil.rmtree(world.state / "audit")
    path = world.state / "history.json"
    document = json.loads(path.read_text())
    del document["audited"], document["unaudited"]
    path.write_text(json.dumps(document))
    for _ in range(2):
        world.new_reconciler()
        world.converge()
    assert told(world) == ["began demo 1", "ended demo 1", "began demo 2"]
    assert all(line["imported"] for line in documents(world))


@pytest.mark.parametrize("torn", [0, 40])
def test_a_crash_between_the_history_and_the_log_loses_nothing_and_tells_nothing_twice(world: World, torn: int) -> None:
    """Also when a part of the line was written."""
    rolled_out(world, 1)
    whole = (world.state / "audit" / "000001.jsonl").read_bytes()
    world.select(demo=2)
    with mock.patch.object(AuditFile, "append", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        world.converge()
    (world.state / "audit" / "000001.jsonl").write_bytes(whole + whole[:torn])
    world.new_reconciler()
    with capture_logs() as said:
        world.converge()
    assert told(world) == ["began demo 1", "ended demo 1", "began demo 2"]
    assert not list(breaks(lines(world)))
    assert not [line for line in said if "audit" in line["event"]]
    world.new_reconciler()
    world.converge()
    assert len(lines(world)) == 3


@pytest.mark.parametrize("fails", ["the history", "the log"])
def test_a_full_disk_delays_entries_and_shows_in_the_status(world: World, fails: str) -> None:
    """It is told once, and nothing is lost."""
    rolled_out(world, 1)
    with capture_logs() as said, refused(fails):
        rolled_out(world, 2)
        world.reconciler.one_pass()
        assert "No space left on device; make room there" in world.reconciler.publisher.sentence
    assert len([line for line in said if "No space left on device" in line["event"]]) == 1
    world.reconciler.one_pass()
    world.reconciler.one_pass()
    assert told(world) == ["began demo 1", "ended demo 1", "began demo 2"]
    assert "No space" not in world.reconciler.publisher.sentence
    assert read_history(world.state / "history.json").audited == 3


@pytest.mark.parametrize("was_there", [False, True])
def test_a_log_that_cannot_be_looked_at_keeps_nothing_from_starting(world: World, was_there: bool) -> None:
    """It shows in the status, and nothing is lost or twice when it can be looked at again."""
    place, aside = world.state / "audit", world.state / "aside"
    if was_there:
        rolled_out(world, 1)
        place.rename(aside)
    place.write_text("not a directory")
    world.new_reconciler()
    rolled_out(world, 2)
    assert "cannot write the audit log: " in published(world)
    place.unlink()
    if was_there:
        aside.rename(place)
    world.converge()
    assert "audit" not in published(world)
    expected = ["began demo 1", "ended demo 1"] if was_there else []
    assert told(world) == [*expected, "began demo 2"]
    assert list(breaks(lines(world))) == []


def published(world: World) -> str:
    """What the status tells of the host itself."""
    return str(json.loads((world.directory / "status.json").read_text())["trouble"])


def test_of_a_write_that_stopped_half_way_nothing_stays(world: World) -> None:
    """A disk may take a part of the lines before it is full."""
    rolled_out(world, 1)
    path = world.state / "audit" / "000001.jsonl"
    whole = path.read_bytes()
    with mock.patch.object(audit_file, "_write", side_effect=half_of_it):
        rolled_out(world, 2)
    assert path.read_bytes() == whole
    world.reconciler.one_pass()
    assert len(lines(world)) == 3


def test_a_full_file_is_kept_and_the_chain_goes_on_in_the_next(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also over a restart."""
    monkeypatch.setattr(audit_file, "MAX_FILE_BYTES", 100)
    rolled_out(world, 1, 2)
    world.new_reconciler()
    rolled_out(world, 3)
    files = sorted(path.name for path in (world.state / "audit").iterdir())
    assert files == ["000001.jsonl", "000002.jsonl", "000003.jsonl"]
    assert [line["number"] for line in documents(world)] == [1, 2, 3, 4, 5]
    assert not list(breaks(lines(world)))


HARM: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "a word is changed": lambda old: [old[0], old[1].replace(b"took over", b"was worse"), *old[2:]],
    "a line is taken out": lambda old: [old[0], *old[2:]],
    "two lines change places": lambda old: [old[0], old[2], old[1], *old[3:]],
    "a line is there twice": lambda old: [old[0], *old],
    "a line is no entry": lambda old: [old[0], b"nothing", *old[1:]],
}


@pytest.mark.parametrize("harm", HARM)
def test_what_somebody_does_to_the_log_shows(world: World, harm: str, tmp_path: Path) -> None:
    """In the product, and with plain tools as the page for auditors says."""
    rolled_out(world, 1, 2, 3)
    good = lines(world)
    assert (list(breaks(good)), checked(good, tmp_path)) == ([], 0)
    bad = HARM[harm](good)
    assert list(breaks(bad))
    assert checked(bad, tmp_path) == 1


@pytest.mark.parametrize("harm", ["cut", "removed", "another's", "added to"])
def test_after_somebody_changed_the_log_it_goes_on_and_shows_that(world: World, harm: str) -> None:
    """Numbers go on; what is left of the log stays as it is."""
    rolled_out(world, 1)
    path = world.state / "audit" / "000001.jsonl"
    left = b""
    if harm == "removed":
        path.unlink()
    elif harm == "another's":
        path.unlink()
        path.symlink_to("/dev/zero")
    else:
        left = b"" if harm == "cut" else path.read_bytes() + b'{"event":"none"}\n'
        path.write_bytes(left)
    with capture_logs() as said:
        rolled_out(world, 2)
    assert [line for line in said if "somebody changed the audit log" in line["event"]]
    if harm == "another's":
        path.unlink()
    assert [line["number"] for line in documents(world)[-2:]] == [2, 3]
    assert b"".join(line + b"\n" for line in lines(world)).startswith(left)


def test_each_line_is_signed_where_there_is_a_key(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """openssl checks it, as the page for auditors says; a changed line has no signature any more."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    key = tmp_path / "audit.key"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", key], check=True)
    subprocess.run(["openssl", "pkey", "-in", key, "-pubout", "-out", tmp_path / "audit.pub"], check=True)
    signer = audit_signer()
    world.reconciler.desk.history = HistoryFile(world.state / "history.json", AuditFile(world.state / "audit", signer))
    rolled_out(world, 1, 2)
    signed = lines(world)
    assert (checked(signed, tmp_path, 0), checked(signed, tmp_path, 1)) == (0, 0)
    changed = [line.replace(b'"began"', b'"ended"', 1) for line in signed]
    assert checked(changed, tmp_path, 1) == 1
    assert signer is not None
    assert {line["key"] for line in documents(world)} == {signer.key}


@pytest.mark.parametrize("kind", ["rsa", "nonsense"])
def test_a_key_that_cannot_be_used_is_refused_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Without a word of what is in it."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert audit_signer() is None
    key = tmp_path / "audit.key"
    key.write_text("CANARY")
    if kind == "rsa":
        subprocess.run(["openssl", "genrsa", "-out", key], check=True, capture_output=True)
    with pytest.raises(AuditKeyError, match=r"the credential 'audit\.key' is (no Ed25519 key|not a key)") as caught:
        audit_signer()
    assert "CANARY" not in str(caught.value)


@pytest.fixture
def command(world: World, monkeypatch: pytest.MonkeyPatch) -> "Command":
    """`reconciler history` as root types it, on that host."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(audit_file, "audit_lines", lambda: audit_lines(world.state / "audit"))
    monkeypatch.setenv("TZ", "UTC")

    def run(*words: str) -> tuple[int, str, str]:
        done = CliRunner().invoke(app, ["history", *words])
        return done.exit_code, done.stdout, done.stderr

    return run


Command = Callable[..., tuple[int, str, str]]


def test_the_export_is_the_log_line_by_line(world: World, command: Command) -> None:
    """Of all deployments or of one; a log that was changed is printed, too, and the command fails."""
    rolled_out(world, 1, 2)
    world.select(demo=2, more=1)
    world.converge()
    code, printed, said = command("--export")
    assert (code, printed.encode().splitlines(), said) == (0, lines(world), "")
    code, printed, said = command("--export", "more")
    assert (code, printed.encode().splitlines(), said) == (0, lines(world)[3:], "")
    path = world.state / "audit" / "000001.jsonl"
    path.write_bytes(path.read_bytes().replace(b"took over", b"was worse"))
    code, printed, said = command("--export", "more")
    assert (code, len(printed.splitlines())) == (1, 1)
    assert said == (
        "cannot vouch for the audit log: entry 3 does not follow from the line before it, which has the number 2\n"
    )


def test_the_release_of_a_moment_is_found(world: World, command: Command) -> None:
    """Of one deployment or of all; also after a removal."""
    rolled_out(world, 1)
    first = active_release(world)
    world.now += 3600
    moment = world.reconciler.notes.clock.moment()
    world.now += 3600
    rolled_out(world, 2)
    world.select(demo=2, more=1)
    world.converge()
    code, printed, _ = command("--at", moment.isoformat(), "demo")
    assert (code, printed.splitlines()[0]) == (0, f"at {moment:%Y-%m-%d %H:%M:%S} UTC:")
    assert printed.splitlines()[2].split()[:3] == ["demo", "1", first]
    late = world.reconciler.notes.clock.moment().isoformat()
    document = json.loads(command("--at", late, "--json")[1])
    assert [(row["name"], row["version"], row["ended"]) for row in document["runs"]] == [
        ("demo", 2, None),
        ("more", 1, None),
    ]
    assert len(document["runs"][0]["origin"]["files"]) == 64
    code, printed, _ = command("--at", "1969-12-31", "demo")
    assert (code, printed) == (
        0,
        "no release of demo served at 1969-12-31 00:00:00 UTC, as far as the audit log goes\n",
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--at", "noon"], "cannot show the history: 'noon' should be a moment such as 2026-11-30T18:00"),
        (["--at", "14:03", "--export"], "cannot show the history: both --at and --export are given; give one of them"),
        ([], "cannot show the history: it is of one deployment; name it, or give --at or --export"),
    ],
)
def test_a_mistyped_command_is_refused(command: Command, words: list[str], says: str) -> None:
    """With what to type instead."""
    code, printed, said = command(*words)
    assert (code, printed, said.strip()) == (2, "", says)


def test_the_first_line_follows_from_nothing(world: World) -> None:
    """So that a log that begins later shows that there was one before."""
    rolled_out(world, 1, 2)
    first, second, _ = lines(world)
    assert read_line(first)[1] == NOTHING_BEFORE
    assert read_line(second)[1] == hash_of(first)


def checked(of: list[bytes], directory: Path, which: int = 0) -> int:
    """Run a command of the page for auditors on these lines, and return its exit code."""
    (directory / "audit.jsonl").write_bytes(b"".join(line + b"\n" for line in of))
    return subprocess.run(["sh", "-eu", "-c", COMMANDS[which]], cwd=directory, check=False).returncode


def refused(fails: str) -> contextlib.AbstractContextManager[object]:
    """Have the history or the log be refused as on a full disk."""
    if fails == "the history":
        return refusing(lambda path: path.name == "history.json")
    return mock.patch.object(audit_file, "_write", side_effect=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))


def half_of_it(descriptor: int, place: int, content: bytes) -> None:
    """Write a part before the disk is full."""
    os.pwrite(descriptor, content[: len(content) // 2], place)
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
