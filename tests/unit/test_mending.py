"""What is mended over the fake systemd, and how often."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from reconciler.apply.unit_files import UnitFiles
from reconciler.core.state.status import State
from reconciler.core.units import names
from tests.fakes.systemd import Behaviour
from tests.unit.conftest import World
from tests.unit.rollouts import active, deploy, rolled_out, servers, story


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


def test_a_repair_is_an_event(world: World) -> None:
    """One line says what was undone of which unit; nothing else happened to the deployment."""
    rolled_out(world, 1)
    unit = active(world)
    (world.etc / unit).write_text("[Service]\n")
    with capture_logs() as told:
        world.converge()
    assert [(line["event"], line["log_level"], line["MODEL"]) for line in told] == [
        (f"demo is repaired: restored {unit}", "info", "demo")
    ]


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
    # Without its socket unit it answers on what it was handed: that is not taken from it by giving up.
    assert servers(world) == ({"1.1": "serves"} if what == "socket" else {})


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
    before = world.systemd.invocation(verify)
    world.failures[unit] = Behaviour(works=False, status_text="cannot load the model: no such file")
    world.systemd.crash(unit)
    world.systemd.settle()
    world.converge()
    assert story(world)[:2] == (State.FAILED, "2")
    world.failures.pop(unit)
    world.now += 601
    world.converge()
    assert world.systemd.invocation(verify) != before
    assert story(world)[:3] == (State.DEGRADED, "2", "1")


def test_files_that_somebody_changed_are_verified_again_at_once(world: World) -> None:
    """systemd watches those of the release that serves, from their verification on; nobody else's."""
    rolled_out(world, 1)
    watch, verify = names.watch_unit("demo", 1), names.verify_unit("demo", 1)
    verified = world.systemd.invocation(verify)
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
    assert world.systemd.invocation(verify) != verified
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


def test_a_deleted_unit_is_put_back_before_it_is_disabled(world: World) -> None:
    """There are systemds that do not disable what is not there."""
    rolled_out(world, 1)
    unit = active(world)
    (world.etc / unit).unlink()
    done = []
    world.reconciler.runner.after_action = lambda _number, action: done.append(str(action))
    world.select()
    world.converge()
    assert done.index(f"restore {unit}") < done.index(f"disable {unit}")
    assert not (world.etc / unit).exists()


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
    world.reconciler.notes.clock = replace(world.reconciler.notes.clock, jitter=lambda: 0.0)
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


def test_a_change_is_not_forgotten_because_a_step_is_done_again(world: World) -> None:
    """What systemd told is looked into, whoever stops the telling."""
    rolled_out(world, 1)
    verified = world.systemd.invocation(names.verify_unit("demo", 1))
    world.systemd.start(names.changed_unit("demo", 1))
    world.systemd.settle()
    rolled_out(world, 2)
    world.select(demo=1)
    world.converge()
    assert world.systemd.invocation(names.verify_unit("demo", 1)) != verified


def test_what_serves_is_looked_after_while_the_next_cannot_be_made_ready(world: World) -> None:
    """For hours, perhaps."""
    rolled_out(world, 1)
    world.failures[names.fetch_unit("demo", 2)] = Behaviour(works=False, status_text="cannot download it: away")
    world.select(demo=2)
    world.converge()
    verified = world.systemd.invocation(names.verify_unit("demo", 1))
    world.systemd.start(names.changed_unit("demo", 1))
    world.systemd.settle()
    world.converge()
    assert world.systemd.invocation(names.verify_unit("demo", 1)) != verified
    assert story(world)[:3] == (State.DEGRADED, "2", "1")


@pytest.mark.parametrize(
    ("build_is", "state"),
    [
        ("done again", (State.SERVING, "1", "1", "")),
        ("under way again", (State.SERVING, "1", "1", "")),
        ("as it was", (State.STALLED, "1", "1", "mended-too-often")),
    ],
)
def test_an_environment_that_is_built_again_is_nobodys_damage(
    world: World, build_is: str, state: tuple[State, str, str, str]
) -> None:
    """Its files change hands for another deployment; they are verified again, and it costs nothing of the budget."""
    rolled_out(world, 1)
    build, verify = names.build_unit(f"{1:032x}"), names.verify_unit("demo", 1)
    for _ in range(10):
        verified = world.systemd.invocation(verify)
        world.now += 1
        if build_is != "as it was":
            world.systemd.stop(build)
            world.systemd.settle()
            world.systemd.start(build)
        world.systemd.start(names.changed_unit("demo", 1))
        world.systemd.settle_one(names.changed_unit("demo", 1))
        if build_is == "under way again":
            world.reconciler.one_pass()
        world.systemd.settle()
        world.converge()
        assert world.systemd.invocation(verify) != verified or build_is == "as it was"
    assert story(world) == state


def test_what_was_verified_before_it_changed_hands_is_verified_once_more(world: World) -> None:
    """As after an upgrade: a release that serves needs nobody for it, and is not restarted."""
    rolled_out(world, 1)
    verify = names.verify_unit("demo", 1)
    server = next(unit for unit in world.systemd.units() if unit.startswith("model-demo@"))
    before = {unit: world.systemd.invocation(unit) for unit in (verify, server)}
    for directory in (world.etc, world.state / "rendered"):
        text = (directory / verify).read_text()
        former = re.sub("^(User=mlflow-)files$", r"\1deploy", text, flags=re.MULTILINE)
        former = re.sub("^Check=.*$", "Check=e3b0c44298fc1c14", former, flags=re.MULTILINE)
        assert former != text
        (directory / verify).write_text(former)
    world.converge()
    assert "\nUser=mlflow-files\n" in (world.etc / verify).read_text()
    assert world.systemd.invocation(verify) != before[verify]
    assert world.systemd.invocation(server) == before[server]
    assert story(world) == (State.SERVING, "1", "1", "")
