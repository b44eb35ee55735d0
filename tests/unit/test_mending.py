"""What is mended over the fake systemd, how often, and what waits for a person instead."""

from pathlib import Path

import pytest

from reconciler.core import names
from reconciler.core.actions import Unconfirm
from reconciler.core.status import State
from tests.fakes.systemd import Behaviour
from tests.unit.conftest import World
from tests.unit.test_rollout import SOAK, active, deploy, rolled_out, servers, story


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
