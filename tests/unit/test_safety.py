"""What brings the good release back needs no disk and no luck; what answers is told, whatever could be written down."""

import contextlib
import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from structlog.testing import capture_logs

from reconciler.core.operators.requests import Request
from reconciler.core.operators.verbs import Verb
from reconciler.core.planner import actions as act
from reconciler.core.planner.actions import Action
from reconciler.core.state.status import State
from reconciler.files.ledger_file import LedgerFile
from reconciler.ports.systemd import SystemdError
from tests.fakes.systemd import FakeSystemd
from tests.unit.conftest import World
from tests.unit.disk import refusing
from tests.unit.rollouts import SOAK, active, deploy, rolled_out, servers, story

FILES = ("ledger.json", "pins", "history.json", "snapshot.json", "status.json", "rendered", "etc", "links")
EACH = [(one,) for one in FILES]
SOME = random.Random(1).sample([*itertools.combinations(FILES, 4)], 12)  # noqa: S311 - nothing here is secret


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A host whose releases have a soak, and which keeps one release to go back to."""
    return World(tmp_path / "host", settings=deploy())


def in_soak(world: World) -> str:
    """Have version 2 serve beside version 1, which stands by; gives its server."""
    rolled_out(world, 1)
    world.select(demo=2)
    world.converge()
    assert servers(world) == {"1.1": "stands by", "2.1": "serves"}
    return active(world)


def doing(world: World) -> list[Action]:
    """Every action from now on, in order."""
    done: list[Action] = []
    world.reconciler.runner.after_action = lambda _number, action: done.append(action)
    return done


def no_links(_self: FakeSystemd, unit: str) -> None:
    """A directory of units that takes no links."""
    raise SystemdError(f"cannot do EnableUnitFiles {unit}: Read-only file system")


@contextlib.contextmanager
def refused(world: World, *files: str) -> Iterator[None]:
    """Have the disk refuse what has one of these names in its path; "links" are systemd's own writes."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(refusing(lambda path: bool({*files} & {*path.relative_to(world.directory).parts})))
        for name in ("enable", "disable") if "links" in files else ():
            stack.enter_context(mock.patch.object(FakeSystemd, name, no_links))
        yield


@pytest.mark.parametrize("files", [*EACH, *SOME, FILES], ids="+".join)
@pytest.mark.parametrize("trouble", ["errors", "ends"])
def test_the_good_release_answers_again_whatever_the_disk_refuses(
    world: World, files: tuple[str, ...], trouble: str
) -> None:
    """In the pass that rejects the bad one, by signals alone; and what was refused is written once it can be."""
    bad = in_soak(world)
    done = doing(world)
    with refused(world, *files):
        if trouble == "errors":
            world.systemd.serve(bad, 20, 20)
        else:
            world.systemd.crash(bad)
        world.reconciler.one_pass()
        assert servers(world)["1.1"] == "serves"
        assert [type(one) for one in done[:2]] == [act.Resume, act.StandBy if trouble == "errors" else act.Reject]
        world.converge()
        assert servers(world)["1.1"] == "serves"
        assert servers(world).get("2.1") != "serves"
        if "status.json" not in files:
            assert story(world)[:3] == (State.DEGRADED, "2", "1")
    world.now += 601
    world.converge()
    assert story(world)[:3] == (State.DEGRADED, "2", "1")
    assert [one.release for one in LedgerFile(world.state / "ledger.json").ledger.record("demo").rejected] == [
        bad[11:21]
    ]
    assert active(world).startswith("model-demo@1.")
    assert servers(world) == {"1.1": "serves"}


def test_a_deployment_that_waits_for_its_next_turn_is_brought_back_all_the_same(world: World) -> None:
    """The wait is for what failed, not for what needs no file."""
    bad = in_soak(world)
    with refused(world, "etc", "rendered"):
        (world.etc / "model-demo.socket").write_text("edited")
        world.converge()
        assert story(world)[0] is State.DEGRADED
        assert "/etc/model-demo.socket: No space left on device; make room there" in world.status()["demo"].message
        world.systemd.serve(bad, 20, 20)
        world.reconciler.one_pass()
        assert servers(world) == {"1.1": "serves", "2.1": "stands by"}
        assert [one.release for one in world.reconciler.ledger.ledger.record("demo").rejected] == [bad[11:21]]


def test_the_signals_of_all_deployments_come_before_anything_else(world: World) -> None:
    """Whatever else there is to be done, and whoever comes first by name."""
    in_soak(world)
    world.select(a=1, demo=2)
    world.converge()
    done = doing(world)
    (world.etc / "model-a.socket").write_text("edited")
    world.systemd.serve(active(world), 20, 20)
    world.reconciler.one_pass()
    assert [type(one) for one in done[:4]] == [act.Resume, act.StandBy, act.Reject, act.RestoreFile]


def test_a_signal_that_cannot_be_sent_keeps_no_other_from_it(world: World) -> None:
    """Nor the note of what failed."""
    bad = in_soak(world)
    world.systemd.serve(bad, 20, 20)
    with mock.patch.object(FakeSystemd, "resume", side_effect=SystemdError("cannot do KillUnit: a test")):
        world.reconciler.one_pass()
    assert servers(world) == {"1.1": "stands by", "2.1": "stands by"}
    assert world.reconciler.ledger.ledger.record("demo").rejected != ()
    world.reconciler.one_pass()
    assert servers(world)["1.1"] == "serves"


@pytest.mark.parametrize("files", [("etc",), ("rendered",), ("etc", "ledger.json")], ids="+".join)
def test_who_answers_is_told_of_a_rollout_that_hangs_half_done(world: World, files: tuple[str, ...]) -> None:
    """The new version does, though the socket's file still names the old one."""
    rolled_out(world, 1)
    world.select(demo=2)
    while "2.1" not in servers(world):
        world.reconciler.one_pass()
        world.systemd.settle()
    with refused(world, *files):
        world.converge()
        assert servers(world) == {"1.1": "stands by", "2.1": "serves"}
        assert story(world) == (State.DEGRADED, "2", "2", "action-failed")
    world.now += 601
    world.converge()
    world.now += SOAK + 1
    world.converge()
    assert story(world) == (State.SERVING, "2", "2", "")


def test_what_cannot_be_written_down_is_told_once_and_in_every_status(world: World) -> None:
    """In the journal, in the status file and in the sentence for systemctl; until it is written."""
    with refused(world, "ledger.json", "history.json", "snapshot.json"), capture_logs() as lines:
        rolled_out(world, 1)
        for _ in range(3):
            world.reconciler.one_pass()
    why = f"{world.state}/ledger.json: No space left on device; make room there"
    told = [line["event"] for line in lines if why in line["event"]]
    assert len(told) == 1
    assert f"cannot save the ledger: {why}" in world.reconciler.publisher.sentence
    assert why in (world.directory / "status.json").read_text()
    world.reconciler.one_pass()
    assert world.reconciler.ledger.problem == ""
    assert why not in world.reconciler.publisher.sentence
    assert LedgerFile(world.state / "ledger.json").ledger == world.reconciler.ledger.ledger


def test_a_status_that_cannot_be_published_does_not_end_the_pass(world: World) -> None:
    """It is told once, and published as soon as it can be."""
    rolled_out(world, 1)
    with refused(world, "status.json"), capture_logs() as lines:
        world.select(demo=2)
        world.converge()
    assert len([line for line in lines if line["event"].startswith("cannot publish the status: ")]) == 1
    assert servers(world) == {"1.1": "stands by", "2.1": "serves"}
    world.reconciler.one_pass()
    assert story(world)[3] == "soaking"


def test_no_server_starts_before_what_it_is_compared_with_is_written(world: World) -> None:
    """And no version is rejected for that."""
    with refused(world, "pins"):
        world.select(demo=1)
        world.converge()
        for _ in range(5):
            world.now += 601
            world.converge()
        assert servers(world) == {}
        assert story(world)[0] is State.FAILED
        assert world.status()["demo"].message.startswith("cannot record what was fetched or built for version 1; ")
    world.converge()
    assert story(world) == (State.SERVING, "1", "1", "")


@pytest.mark.parametrize("files", [*EACH, FILES], ids="+".join)
def test_a_person_s_rollback_needs_no_disk_either(world: World, files: tuple[str, ...]) -> None:
    """It is done by signals, in the pass that takes the request."""
    bad = in_soak(world)
    requests = world.state / "requests"
    requests.mkdir()
    request = Request(schema=1, verb=Verb.ROLLBACK, name="demo", by="ana")
    (requests / "1-1.json").write_text(request.model_dump_json(by_alias=True))
    (requests / "1-1.json").chmod(0o600)
    with refused(world, *files):
        world.reconciler.one_pass()
        assert servers(world)["1.1"] == "serves"
        assert servers(world).get("2.1") != "serves"
        assert '"ok":true' in (requests / "1-1.answer").read_text()
    world.now += 601
    world.converge()
    assert story(world) == (State.DEGRADED, "2", "1", "rolled-back")
    assert [one.release for one in LedgerFile(world.state / "ledger.json").ledger.record("demo").rejected] == [
        bad[11:21]
    ]
