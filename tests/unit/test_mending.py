"""What is mended over the fake systemd, how often, and what waits for a person instead."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.apply.unit_files import UnitFiles
from reconciler.core import names
from reconciler.core.actions import Unconfirm
from reconciler.core.ledger import Record, Rejected, Stall, Suspension
from reconciler.core.rollback import NothingToGoBackToError, Standing, roll_back
from reconciler.core.status import State
from tests.fakes.systemd import Behaviour
from tests.unit.conftest import World
from tests.unit.test_rollout import BROKEN, SOAK, active, deploy, rolled_out, servers, story


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A host whose releases have a soak, and which keeps one release to go back to."""
    return World(tmp_path / "host", settings=deploy())


def test_a_drop_in_is_drift(world: World) -> None:
    """It is removed from a release's units; the slice's belong to ops."""
    rolled_out(world, 1)
    for unit in (active(world), "model-demo.socket", "model-demo.slice"):
        (world.etc / f"{unit}.d").mkdir()
        (world.etc / f"{unit}.d" / "override.conf").write_text("[Unit]\n")
    world.converge()
    assert sorted(path.name for path in world.etc.glob("*.d")) == ["model-demo.slice.d"]


def test_what_is_undone_again_and_again_is_left_to_a_person(world: World) -> None:
    """Five repairs in five minutes; another release ends it."""
    rolled_out(world, 1)
    path = world.etc / active(world)
    for _ in range(5):
        path.write_text(path.read_text() + "# edited\n")
        world.converge()
        assert "# edited" not in path.read_text()
    path.write_text(path.read_text() + "# edited\n")
    world.converge()
    assert story(world) == (State.STALLED, "1", "1", "mended-too-often")
    assert "# edited" in path.read_text()
    assert servers(world) == {"1.1": "serves"}
    world.now += 10_000
    world.new_reconciler()
    world.converge()
    assert story(world)[0] is State.STALLED
    rolled_out(world, 2)


def test_repairs_that_are_far_apart_do_not_add_up(world: World) -> None:
    """The budget is for a fight, not for a year."""
    rolled_out(world, 1)
    path = world.etc / active(world)
    for _ in range(12):
        path.write_text(path.read_text() + "# edited\n")
        world.converge()
        world.now += 100
    assert story(world)[0] is State.SERVING


def test_a_masked_unit_suspends_its_deployment(world: World) -> None:
    """Whoever masked it knows why; what is left undone is shown."""
    rolled_out(world, 1)
    (world.etc / "model-demo.socket").unlink()
    (world.etc / "model-demo.socket").symlink_to("/dev/null")
    world.select(demo=2)
    world.converge()
    assert story(world)[:2] == (State.SUSPENDED, "2")
    message = world.status()["demo"].message
    assert message.startswith("suspended, because somebody masked model-demo.socket; left undone: ")
    assert servers(world) == {"1.1": "serves"}
    (world.etc / "model-demo.socket").unlink()
    world.converge()
    assert story(world)[0] is not State.SUSPENDED


def test_many_removals_at_once_wait_for_a_person(world: World) -> None:
    """Three of four are held and go on serving, also after a restart; two of three are not held."""
    world.select(a=1, b=1, c=1, d=1)
    world.converge()
    world.select(d=1)
    world.converge()
    world.new_reconciler()
    world.converge()
    assert {name: one.state for name, one in world.status().items()} == {
        **dict.fromkeys("abc", State.HELD),
        "d": State.SERVING,
    }
    world.systemd.stop(active(world, "a"))
    world.systemd.settle()
    world.converge()
    assert len(servers_of(world)) == 4
    world.select(d=1, a=1)
    world.converge()
    assert {name: one.state for name, one in world.status().items()} == {"a": State.SERVING, "d": State.SERVING}


def servers_of(world: World) -> list[str]:
    """The server units that run."""
    return [unit for unit, one in world.systemd.units().items() if names.parse_server(unit) and one.active == "active"]


def test_the_guard_never_stops_halfway(world: World) -> None:
    """What is allowed to be removed is removed to the end, also when little is left of the others."""
    world.reconciler.settings = deploy(removal_grace=600)
    world.select(a=1, b=1, c=1, d=1, e=1, f=1)
    world.converge()
    for left in ("cdef", "def", "d"):
        world.select(**dict.fromkeys(left, 1))
        world.converge()
        states = {name: one.state for name, one in world.status().items()}
        assert {states[name] for name in states if name not in left} == {State.REMOVING}


def test_another_registry_removes_nothing_without_a_person(world: World) -> None:
    """Somebody pointed the agent elsewhere: one missing model is enough to ask."""
    world.select(a=1, b=1)
    world.converge()
    document = {"schema": 1, "registry": "http://other", "read_at": "2026-01-01T00:00:00Z", "models": []}
    world.write_snapshot(document)
    world.converge()
    assert {one.state for one in world.status().values()} == {State.HELD}
    assert "http://other" in world.status()["a"].message
    assert len(servers_of(world)) == 2


def test_the_same_models_in_another_registry_are_fine(world: World) -> None:
    """A new address of the same registry is taken note of."""
    world.select(a=1)
    world.converge()
    model = {"name": "a", "version": 1, "source": "models:/m-a1", "selected_by": "stage:Production"}
    document = {"schema": 1, "registry": "http://other", "read_at": "2026-01-01T00:00:00Z", "models": [model]}
    world.write_snapshot(document)
    world.converge()
    assert world.reconciler.ledger.ledger.registry == "http://other"
    world.write_snapshot({**document, "models": []})
    world.converge()
    assert "a" not in world.status()


@pytest.mark.parametrize("what", ["server", "socket"])
def test_what_is_stopped_again_and_again_is_left_to_a_person_too(world: World, what: str) -> None:
    """A start is a repair; one after a failure is not, that has a rhythm of its own."""
    rolled_out(world, 1)
    unit = active(world) if what == "server" else "model-demo.socket"
    for _ in range(5):
        world.systemd.stop(unit)
        world.systemd.settle()
        world.converge()
        assert servers(world) == {"1.1": "serves"}
    world.systemd.stop(unit)
    world.systemd.settle()
    world.converge()
    assert story(world)[0] is State.STALLED
    assert world.status()["demo"].message.partition("(")[2].startswith(f"the last: started {unit})")


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


@pytest.mark.parametrize("rejected", [True, False])
def test_the_files_of_a_release_that_is_kept_to_are_looked_over_when_it_fails(world: World, rejected: bool) -> None:
    """What is wrong with them is found out and mended, though the registry wants another version."""
    rolled_out(world, 1)
    world.select(demo=2)
    if rejected:
        world.converge()
        world.systemd.crash(active(world))
    else:
        world.failures[names.fetch_unit("demo", 2)] = Behaviour(works=False, status_text="cannot download it: gone")
    world.converge()
    unit, verify = active(world), names.verify_unit("demo", 1)
    before = world.systemd.units()[verify].invocation
    world.failures[unit] = Behaviour(works=False, status_text="cannot load the model: no such file")
    world.systemd.crash(unit)
    world.systemd.settle()
    world.converge()
    assert story(world)[:2] == (State.FAILED, "2")
    world.failures.pop(unit)
    world.now += 601
    world.converge()
    assert world.systemd.units()[verify].invocation != before
    assert story(world)[:3] == (State.DEGRADED, "2", "1")


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


def test_a_confirmed_removal_is_off_when_the_registry_selects_it_again(world: World) -> None:
    """The next one needs another confirmation."""
    world.select(a=1, b=1, c=1, d=1)
    world.converge()
    ledger = world.reconciler.ledger
    ledger.write(ledger.ledger.model_copy(update={"prune_confirmed": frozenset({"a", "b", "c"})}))
    done = []
    world.reconciler.after_action = lambda _number, action: done.append(action)
    world.converge()
    assert [action.deployment for action in done if isinstance(action, Unconfirm)] == ["a", "b", "c"]
    world.select(d=1)
    world.converge()
    assert {one.state for name, one in world.status().items() if name != "d"} == {State.HELD}


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


def test_files_that_somebody_changed_are_verified_again_at_once(world: World) -> None:
    """systemd watches those of the release that serves, from their verification on; nobody else's."""
    rolled_out(world, 1)
    watch, verify = names.watch_unit("demo", 1), names.verify_unit("demo", 1)
    verified = world.systemd.units()[verify].invocation
    assert world.systemd.units()[watch].active == "active"
    world.systemd.start(names.changed_unit("demo", 1))
    world.systemd.settle()
    world.failures[verify] = Behaviour(works=False, status_text="cannot verify version 1 of demo: a file is gone")
    world.now += 601
    for _ in range(3):
        world.reconciler.one_pass()
        world.systemd.settle()
    assert not {watch, names.changed_unit("demo", 1)} & set(world.systemd.units())
    assert world.systemd.units()[verify].active == "failed"
    world.failures.clear()
    world.now += 1
    world.converge()
    assert world.systemd.units()[verify].invocation != verified
    assert story(world) == (State.SERVING, "1", "1", "")
    assert world.systemd.units()[watch].active == "active"
    rolled_out(world, 2)
    assert not (world.etc / watch).exists()
    assert {unit for unit in world.systemd.units() if unit.endswith(".path")} == {names.watch_unit("demo", 2)}
    world.select()
    world.converge()
    assert not list(world.etc.glob("*.path"))


@pytest.mark.parametrize("which", ["fetch", "build", "verify"])
def test_the_units_of_the_steps_are_mended_too(world: World, which: str) -> None:
    """At once, though they may be needed much later."""
    rolled_out(world, 1)
    (path,) = world.etc.glob(f"mlflow-{which}@*.service")
    text = path.read_text()
    for damage in (path.unlink, lambda: path.write_text("[Service]\nExecStart=/bin/false\n")):
        damage()
        world.converge()
        assert path.read_text() == text


def test_nothing_is_left_of_a_first_release_that_is_rejected_before_it_has_a_unit(world: World) -> None:
    """Its directory has no unit of its own left, and goes with the last one."""
    world.select(demo=1)
    world.converge()
    ledger = world.reconciler.ledger
    one = (names.parse_server(active(world)) or ("", ""))[1]
    rejected = Rejected(release=one, reason="failed-in-soak", message="cannot keep it: it is a test")
    ledger.write(ledger.ledger.with_record("demo", ledger.ledger.record("demo").reject(rejected)))
    world.converge()
    world.select()
    world.converge()
    assert not any("demo" in directory for directory in world.systemd.state_directories)
    assert [path for path in world.etc.iterdir() if "demo" in path.name] == []


def test_a_deleted_unit_is_put_back_before_it_is_disabled(world: World) -> None:
    """There are systemds that do not disable what is not there."""
    rolled_out(world, 1)
    unit = active(world)
    (world.etc / unit).unlink()
    done = []
    world.reconciler.after_action = lambda _number, action: done.append(str(action))
    world.select()
    world.converge()
    assert done.index(f"restore {unit}") < done.index(f"disable {unit}")
    assert not (world.etc / unit).exists()


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


def test_a_watch_that_cannot_start_is_tried_again_later_and_later(world: World) -> None:
    """The kernel gives root so many of them; everything else goes on."""
    world.failures[names.watch_unit("demo", 1)] = Behaviour(works=False, result="resources")
    world.select(demo=1)
    world.converge()
    assert story(world) == (State.SERVING, "1", "1", "")
    world.failures.clear()
    world.now += 601
    world.converge()
    assert world.systemd.units()[names.watch_unit("demo", 1)].active == "active"


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


def test_coming_back_from_a_removal_is_no_repair(tmp_path: Path) -> None:
    """However often: the registry asked for it."""
    world = World(tmp_path / "grace", settings=deploy(removal_grace=600))
    rolled_out(world, 1)
    for _ in range(8):
        world.select()
        world.converge()
        world.select(demo=1)
        world.converge()
    assert story(world) == (State.SERVING, "1", "1", "")


def test_repairs_that_fail_do_not_count(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is not somebody who undoes them."""
    rolled_out(world, 1)
    path = world.etc / active(world)
    text = path.read_text()
    path.write_text("[Service]\n")
    world.reconciler.chance = replace(world.reconciler.chance, jitter=lambda: 0.0)
    monkeypatch.setattr(UnitFiles, "install", _full)
    for _ in range(20):
        world.now += 20
        world.converge()
    monkeypatch.undo()
    world.now += 601
    world.converge()
    assert path.read_text() == text
    assert story(world)[0] is State.SERVING


def _full(_files: UnitFiles, _unit: str) -> None:
    raise OSError(28, "No space left on device")


def test_the_guard_counts_suspended_deployments(world: World) -> None:
    """Resumed one by one, they are not removed one by one; nor is another registry known meanwhile."""
    world.select(a=1, b=1, c=1, d=1)
    world.converge()
    _suspend(world, "a", "b", "c")
    document = {"schema": 1, "registry": "http://other", "read_at": "2026-01-01T00:00:00Z", "models": []}
    world.select(d=1)
    world.converge()
    _suspend(world, resume=("a",))
    world.converge()
    assert {name: one.state for name, one in world.status().items()} == {
        "a": State.HELD,
        "b": State.SUSPENDED,
        "c": State.SUSPENDED,
        "d": State.SERVING,
    }
    world.select(a=1, b=1, c=1, d=1)
    _suspend(world, "a", "b", "c", "d")
    world.write_snapshot(document)
    world.converge()
    assert world.reconciler.ledger.ledger.registry == "http://r"


def _suspend(world: World, *names_: str, resume: tuple[str, ...] = ()) -> None:
    ledger = world.reconciler.ledger
    since = datetime(2026, 1, 1, tzinfo=UTC)
    for name in (*names_, *resume):
        suspended = None if name in resume else Suspension(by="ana", since=since)
        record = ledger.ledger.record(name).model_copy(update={"suspended": suspended})
        ledger.write(ledger.ledger.with_record(name, record))


def test_a_change_is_not_forgotten_because_a_step_is_done_again(world: World) -> None:
    """What systemd told is looked into, whoever stops the telling."""
    rolled_out(world, 1)
    verified = world.systemd.units()[names.verify_unit("demo", 1)].invocation
    world.systemd.start(names.changed_unit("demo", 1))
    world.systemd.settle()
    rolled_out(world, 2)
    world.select(demo=1)
    world.converge()
    assert world.systemd.units()[names.verify_unit("demo", 1)].invocation != verified


def test_what_serves_is_looked_after_while_the_next_cannot_be_made_ready(world: World) -> None:
    """For hours, perhaps."""
    rolled_out(world, 1)
    world.failures[names.fetch_unit("demo", 2)] = Behaviour(works=False, status_text="cannot download it: away")
    world.select(demo=2)
    world.converge()
    verified = world.systemd.units()[names.verify_unit("demo", 1)].invocation
    world.systemd.start(names.changed_unit("demo", 1))
    world.systemd.settle()
    world.converge()
    assert world.systemd.units()[names.verify_unit("demo", 1)].invocation != verified
    assert story(world)[:3] == (State.DEGRADED, "2", "1")


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


def test_a_suspension_is_told_though_an_action_failed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who said so is worth more than what failed before."""
    rolled_out(world, 1)
    path = world.etc / active(world)
    path.write_text("[Service]\n")
    monkeypatch.setattr(UnitFiles, "install", _full)
    world.converge()
    assert story(world)[3] == "action-failed"
    _suspend(world, "demo")
    world.converge()
    assert story(world)[0] is State.SUSPENDED


def test_what_was_left_to_a_person_is_removed_all_the_same(world: World) -> None:
    """A repair that was given up is no reason to keep what nobody wants."""
    rolled_out(world, 1)
    ledger = world.reconciler.ledger
    stalled = Stall(release="", message="it was held, and something undid every repair")
    ledger.write(
        ledger.ledger.with_record("demo", ledger.ledger.record("demo").model_copy(update={"stalled": stalled}))
    )
    world.select()
    world.converge()
    assert "demo" not in world.status()
    assert not list(world.etc.glob("*demo*"))


def test_nobody_goes_back_to_a_version_of_what_is_being_removed() -> None:
    """Nothing would come of it but a rejection."""
    with pytest.raises(NothingToGoBackToError, match="no longer selects it; promote a version instead"):
        roll_back(Record(), "demo", Standing(selected=False), None, "it looks wrong")
