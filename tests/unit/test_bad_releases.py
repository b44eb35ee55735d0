"""Releases that fail in odd ways and at odd times over the fake systemd, and what serves meanwhile."""

from pathlib import Path

import pytest

from reconciler.core.state.ledger import Rejected
from reconciler.core.state.status import State
from reconciler.core.units import names
from tests.fakes.systemd import Behaviour
from tests.unit.conftest import World
from tests.unit.rollouts import BROKEN, SOAK, active, active_release, deploy, rolled_out, servers, story


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A host whose releases have a soak, and which keeps one release to go back to."""
    return World(tmp_path / "host", settings=deploy())


def test_a_good_release_that_fails_is_tried_again_for_ever(world: World) -> None:
    """However often; its files are looked over before each try."""
    rolled_out(world, 1)
    unit = active(world)
    world.failures[unit] = Behaviour(works=False, status_text="cannot load the model: OSError: no memory")
    for _ in range(8):
        world.systemd.crash(unit)
        world.now += 601
        world.converge()
        assert story(world)[0] is State.FAILED
    world.failures.clear()
    world.now += 601
    world.converge()
    assert story(world)[0] is State.SERVING


def test_a_release_that_is_stopped_in_its_soak_gives_way_to_the_one_that_stands_by(world: World) -> None:
    """Whoever stopped it, or itself with status 0: what stands by is not stopped for it."""
    rolled_out(world, 1)
    world.select(demo=2)
    world.converge()
    world.systemd.stop(active(world))
    world.systemd.settle()
    world.reconciler.one_pass()
    world.reconciler.one_pass()
    assert servers(world) == {"1.1": "serves"}
    world.converge()
    assert story(world) == (State.DEGRADED, "2", "1", "failed-in-soak")
    assert "it ended while it served" in world.status()["demo"].message


def test_a_release_that_is_told_to_stand_by_in_its_soak_resumes(world: World) -> None:
    """And the one before it goes on standing by."""
    rolled_out(world, 1)
    world.select(demo=2)
    world.converge()
    world.systemd.stand_by(active(world), 1)
    world.converge()
    assert servers(world) == {"1.1": "stands by", "2.1": "serves"}
    world.now += SOAK + 1
    world.converge()
    assert servers(world) == {"2.1": "serves"}


def test_a_good_release_that_ends_again_and_again_is_said_to(world: World) -> None:
    """systemd starts it every time; while it loads once more, people are told why they wait."""
    rolled_out(world, 1)
    unit = active(world)
    for _ in range(3):
        world.systemd.crash(unit, "oom-kill")
        world.systemd.settle()
    world.systemd.crash(unit, "oom-kill")
    world.reconciler.one_pass()
    assert story(world)[0] is State.FAILED
    assert "it ended 4 times while it served, the last time it was killed for using" in world.status()["demo"].message
    world.systemd.settle()
    world.converge()
    assert story(world)[0] is State.SERVING


def test_nothing_is_left_of_a_first_release_that_is_rejected_before_it_has_a_unit(world: World) -> None:
    """Its directory has no unit of its own left, and goes with the last one."""
    world.select(demo=1)
    world.converge()
    ledger = world.reconciler.ledger
    one = active_release(world)
    rejected = Rejected(release=one, reason="failed-in-soak", message="cannot keep it: it is a test")
    ledger.write(ledger.ledger.with_record("demo", ledger.ledger.record("demo").reject(rejected)))
    world.converge()
    world.select()
    world.converge()
    assert not any("demo" in directory for directory in world.systemd.state_directories)
    assert [path for path in world.etc.iterdir() if "demo" in path.name] == []


def test_the_good_release_serves_while_the_host_fails_one_that_a_boot_started_in_its_soak(world: World) -> None:
    """And the other is tried again beside it."""
    rolled_out(world, 1)
    world.select(demo=2)
    world.converge()
    unit = active(world)
    world.failures[unit] = Behaviour(works=False, result="resources")
    world.systemd.reboot()
    world.new_reconciler()
    world.converge()
    assert servers(world) == {"1.1": "serves"}
    assert story(world) == (State.DEGRADED, "2", "1", "start-failed")
    world.failures.clear()
    world.now += 601
    world.converge()
    assert story(world)[:3] == (State.ROLLING_OUT, "2", "2")


def test_one_failing_replica_of_a_first_release_does_not_take_the_others_down(tmp_path: Path) -> None:
    """There is nothing better to go back to; it is tried again."""
    world = World(tmp_path / "replicas", settings=deploy(replicas=2))
    world.select(demo=1)
    while not any(names.parse_server(unit) for unit in world.systemd.units()):
        world.reconciler.one_pass()
        world.systemd.settle()
    first = next(unit for unit in world.systemd.units() if names.parse_server(unit))
    second = first.replace(".service", ".2.service")
    world.failures[second] = Behaviour(works=False, status_text="cannot load the model: MemoryError; make it smaller")
    world.converge()
    assert servers(world) == {"1.1": "serves"}
    assert story(world) == (State.DEGRADED, "1", "1", "start-failed")
    world.failures.clear()
    world.now += 601
    world.converge()
    assert servers(world) == {"1.1": "serves", "1.2": "serves"}
    assert story(world)[0] is State.SERVING


def test_what_was_promoted_as_the_cure_is_tried_when_nothing_good_can_serve(tmp_path: Path) -> None:
    """The one in its soak is gone after a boot, and the files of the good one, too."""
    world = World(tmp_path / "recreate", settings=deploy(strategy="recreate"))
    rolled_out(world, 1)
    world.select(demo=2)
    world.converge()
    world.failures[names.verify_unit("demo", 1)] = Behaviour(works=False, status_text="cannot verify it: gone")
    world.failures[names.fetch_unit("demo", 1)] = Behaviour(works=False, status_text="cannot download it: gone")
    world.systemd.reboot()
    world.new_reconciler()
    world.systemd.stop(active(world))
    world.systemd.settle()
    world.select(demo=3)
    world.converge()
    assert story(world)[:3] == (State.ROLLING_OUT, "3", "3")


def test_a_release_that_went_idle_in_its_soak_is_not_held_to_have_failed(tmp_path: Path) -> None:
    """Nobody was there to end it when the soak was over."""
    world = World(tmp_path / "idle", settings=deploy(idle_timeout=300))
    rolled_out(world, 1)
    world.select(demo=2)
    world.converge()
    world.now += 2000
    world.systemd.stop(active(world))
    world.systemd.settle()
    world.converge()
    assert world.reconciler.ledger.ledger.record("demo").rejected == ()


def test_an_address_behind_which_everything_failed_is_closed_while_the_next_is_made_ready(world: World) -> None:
    """Nobody waits for an answer that nobody gives, and no connection starts what failed."""
    world.select(demo=1)
    world.converge()
    unit = active(world)
    world.failures[unit] = BROKEN
    world.failures[names.fetch_unit("demo", 2)] = Behaviour(works=False, status_text="cannot download it: away")
    world.systemd.reboot()
    world.new_reconciler()
    world.select(demo=2)
    world.converge()
    assert "model-demo.socket" not in world.systemd.units()
    world.failures.clear()
    world.now += 601
    world.converge()
    world.now += SOAK + 1
    world.converge()
    assert story(world) == (State.SERVING, "2", "2", "")


def test_a_replica_that_the_host_fails_in_a_soak_is_tried_again(tmp_path: Path) -> None:
    """It says nothing about the release."""
    world = World(tmp_path / "replicas", settings=deploy(replicas=2))
    rolled_out(world, 1)
    world.select(demo=2)
    world.converge()
    second = active(world).replace(".service", ".2.service")
    world.failures[second] = Behaviour(works=False, result="resources")
    world.systemd.stop(second)
    world.systemd.settle()
    world.systemd.start(second)
    world.systemd.settle()
    world.converge()
    assert world.reconciler.ledger.ledger.record("demo").rejected == ()
    world.failures.clear()
    world.now += 601
    world.converge()
    world.now += SOAK + 1
    world.converge()
    assert story(world) == (State.SERVING, "2", "2", "")


def test_an_idle_release_serves_while_the_next_cannot_be_made_ready(tmp_path: Path) -> None:
    """It would be started by the next request: nothing is down."""
    world = World(tmp_path / "idle", settings=deploy(idle_timeout=300))
    rolled_out(world, 1)
    world.systemd.stop(active(world))
    world.systemd.settle()
    world.failures[names.fetch_unit("demo", 2)] = Behaviour(works=False, status_text="cannot download it: away")
    world.select(demo=2)
    world.converge()
    assert story(world)[:3] == (State.DEGRADED, "2", "1")


def test_a_release_that_fails_after_it_was_preempted_is_rejected_all_the_same(world: World) -> None:
    """Promoted once more, it is not tried again."""
    rolled_out(world, 1)
    world.select(demo=2)
    world.converge()
    second = active(world)
    world.failures[names.fetch_unit("demo", 3)] = Behaviour(works=False, status_text="cannot download it: away")
    world.select(demo=3)
    world.converge()
    world.systemd.crash(second)
    world.converge()
    assert [one.release for one in world.reconciler.ledger.ledger.record("demo").rejected] == [second[11:21]]
    assert servers(world) == {"1.1": "serves"}
