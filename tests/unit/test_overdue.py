"""What does not end, start or step aside in time over the fake systemd: it is ended by force, whatever it says."""

from pathlib import Path

import pytest

from reconciler.core.planner import actions as act
from reconciler.core.planner.actions import Action
from reconciler.core.state.status import State
from reconciler.core.units.observed import AFTER_SYSTEMD, Unit
from tests.fakes.systemd import Behaviour
from tests.unit.conftest import World
from tests.unit.rollouts import SOAK, active, deploy, rolled_out, servers, story
from tests.unit.test_reconcile import server_of
from tests.unit.test_safety import doing, in_soak

STOP, START, PATIENCE = 30, 300, 5
"""Seconds: the shipped settings."""
STUBBORN = Behaviour(obeys=False, lingers=True)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A host whose releases have a soak, and which keeps one release to go back to."""
    return World(tmp_path / "host", settings=deploy())


def kills(done: list[Action]) -> list[str]:
    """The units that were killed."""
    return [one.unit for one in done if isinstance(one, act.Kill)]


@pytest.mark.parametrize("soak", [0, SOAK])
def test_a_release_that_never_ends_is_killed_before_another_is_accepted(tmp_path: Path, soak: int) -> None:
    """It neither steps aside nor stops, and has systemd's deadline put off; the loop wakes for ours."""
    world = World(tmp_path / "stubborn", settings=deploy(soak=soak))
    rolled_out(world, 1)
    old = active(world)
    world.failures[old] = STUBBORN
    world.select(demo=2)
    done = doing(world)
    world.converge()
    assert world.systemd.units()[old].active == "deactivating"
    assert kills(done) == []
    assert world.reconciler.ledger.ledger.record("demo").good == old[11:21]
    assert world.reconciler.next_deadline() == world.now + STOP + AFTER_SYSTEMD
    world.now += STOP + AFTER_SYSTEMD
    world.converge()
    assert kills(done) == [old]
    assert servers(world) == {"2.1": "serves"}
    world.now += soak
    world.converge()
    assert story(world) == (State.SERVING, "2", "2", "")


def test_a_release_that_is_started_again_while_it_stands_by_does_not_hold_up_the_next(world: World) -> None:
    """systemd does that for ever; once the next one has proved itself it is stopped."""
    in_soak(world)
    old = next(unit for unit in world.systemd.units() if unit.startswith("model-demo@1."))
    world.failures[old] = STUBBORN
    world.systemd.crash(old)
    world.now += SOAK + 1
    world.converge()
    assert story(world)[:2] == (State.ROLLING_OUT, "2")
    world.now += STOP + AFTER_SYSTEMD
    world.converge()
    assert story(world) == (State.SERVING, "2", "2", "")
    assert servers(world) == {"2.1": "serves"}


def test_a_release_that_says_it_reloads_is_killed(world: World) -> None:
    """A server never does, and one that reloads is not told to step aside."""
    rolled_out(world, 1)
    old = active(world)
    world.systemd.reload_by_itself(old)
    world.select(demo=2)
    done = doing(world)
    world.converge()
    assert kills(done) == []
    assert story(world)[:2] == (State.ROLLING_OUT, "2")
    world.now += PATIENCE
    world.reconciler.one_pass()
    assert kills(done) == [old]
    world.converge()
    assert servers(world) == {"1.1": "stands by", "2.1": "serves"}


def test_a_release_that_reloads_in_its_soak_is_undone(world: World) -> None:
    """The one before it answers again in the same pass."""
    bad = in_soak(world)
    world.systemd.reload_by_itself(bad)
    world.reconciler.one_pass()
    assert servers(world)["1.1"] == "serves"
    world.converge()
    assert story(world) == (State.DEGRADED, "2", "1", "failed-in-soak")
    assert "it told systemd that it reloads" in world.status()["demo"].message
    assert "2.1" not in servers(world)


def test_a_release_that_says_it_stops_in_its_soak_is_undone_before_it_has_stopped(world: World) -> None:
    """It may have the stop last for ever, and answers nobody meanwhile."""
    bad = in_soak(world)
    world.failures[bad] = STUBBORN
    world.systemd.stop(bad)
    world.reconciler.one_pass()
    assert servers(world)["1.1"] == "serves"
    world.converge()
    assert story(world) == (State.DEGRADED, "2", "1", "failed-in-soak")
    world.now += STOP + AFTER_SYSTEMD
    world.converge()
    assert servers(world) == {"1.1": "serves"}
    assert bad not in world.systemd.units()


def test_a_release_that_has_its_start_put_off_is_rejected_and_killed(world: World) -> None:
    """One start timeout is what every version has; it is not started again."""
    rolled_out(world, 1)
    world.failures[server_of("demo", 2)] = STUBBORN
    world.select(demo=2)
    done = doing(world)
    world.converge()
    assert story(world)[:3] == (State.ROLLING_OUT, "2", "1")
    assert world.reconciler.next_deadline() == world.now + START + AFTER_SYSTEMD
    world.now += START + AFTER_SYSTEMD
    world.converge()
    assert kills(done) == [server_of("demo", 2)]
    assert story(world) == (State.DEGRADED, "2", "1", "start-failed")
    assert "it did not get ready within its start timeout" in world.status()["demo"].message
    assert servers(world) == {"1.1": "serves"}
    world.reconciler.settings = deploy(memory_max=5 * 1024**3)
    world.converge()
    assert story(world) == (State.DEGRADED, "2", "1", "start-failed"), "a setting is no reason to try it again"


def test_what_no_signal_ends_is_killed_again_later_and_stops_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process may wait for a disk in the kernel; the passes come to rest, and the loop wakes for the next try."""
    rolled_out(world, 1)
    old = active(world)
    world.failures[old] = STUBBORN
    world.select(demo=2)
    world.converge()
    monkeypatch.setattr(world.systemd, "kill", lambda _unit: None)
    world.now += STOP + AFTER_SYSTEMD
    done = doing(world)
    for tries in (1, 2):
        world.converge()
        assert kills(done) == [old] * tries
        assert world.reconciler.next_deadline() == world.now + PATIENCE
        world.now += PATIENCE


def test_what_a_person_suspended_is_not_killed(world: World) -> None:
    """It is left alone."""
    rolled_out(world, 1)
    ledger, unit = world.reconciler.ledger, active(world)
    world.failures[unit] = STUBBORN
    world.systemd.stop(unit)
    record = ledger.ledger.record("demo")
    suspended = {"by": "ana", "since": "2026-01-01T00:00:00Z"}
    ledger.write(
        ledger.ledger.with_record("demo", type(record).model_validate({**record.model_dump(), "suspended": suspended}))
    )
    world.now += 1000
    done = doing(world)
    world.converge()
    assert done == []


@pytest.mark.parametrize(
    ("unit", "due"),
    [
        (Unit("x", active="activating", changed=10.0, allowed=20.0), 30.0 + AFTER_SYSTEMD),
        (Unit("x", active="deactivating", changed=10.0, allowed=20.0), 30.0 + AFTER_SYSTEMD),
        (Unit("x", active="activating", changed=10.0), None),
        (Unit("x", active="reloading", changed=10.0), 10.0 + PATIENCE),
        (Unit("x", active="active"), None),
    ],
)
def test_our_deadline_comes_after_systemds(unit: Unit, due: float | None) -> None:
    """Where it has none there is none of ours either, but for what no server does."""
    assert unit.overdue_at(PATIENCE) == due
