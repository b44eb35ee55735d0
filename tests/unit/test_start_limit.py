"""Only so many servers load at once, and nobody who had a model waits because others get theirs."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.state.status import State
from reconciler.core.units import names
from tests.fakes.systemd import Behaviour
from tests.unit import many
from tests.unit.conftest import World, in_memory
from tests.unit.rollouts import active


def limit(world: World, starts: int) -> None:
    """Have so many servers load at once."""
    world.settings = many.settings(starts=starts)
    world.new_reconciler()


def run_until_loading(world: World) -> None:
    """Let steps end, and servers load on."""
    for _ in range(20):
        acted = world.reconciler.one_pass()
        for unit in list(world.systemd.units()):
            if names.parse_server(unit) is None:
                world.systemd.settle_one(unit)
        if not acted:
            return
    raise AssertionError("still acting")


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 4), st.integers(1, 9))
def test_never_more_than_the_limit_load_and_all_serve_in_the_end(starts: int, models: int) -> None:
    """Also when another version of each is rolled out."""
    with in_memory() as directory:
        world = World(directory / "host")
        limit(world, starts)
        for version in (1, 2):
            many.select(world, models, version)
            _, most = many.roll_out(world)
            assert most == min(starts, models)
            assert {one.state for one in world.status().values()} == {State.SERVING}
            assert {one.active_version for one in world.status().values()} == {str(version)}


def test_what_waits_says_so(world: World) -> None:
    """In its status, with the setting that decides it."""
    limit(world, 1)
    world.select(a=1, b=1)
    run_until_loading(world)
    status = world.status()
    assert (status["a"].reason, status["b"].reason) == ("starting", "waiting")
    assert status["b"].state is State.ROLLING_OUT
    assert status["b"].message == (
        "waits for its turn to load version 1: another is loading (reconcile.parallel_starts)"
    )
    world.converge()
    assert world.status()["b"].state is State.SERVING


def test_a_model_that_served_and_is_down_waits_for_no_first_rollout(world: World) -> None:
    """Somebody stopped it while all places were taken."""
    limit(world, 1)
    world.select(served=1)
    world.converge()
    world.select(served=1, a=1, b=1)
    run_until_loading(world)
    assert len(many.loading(world)) == 1
    world.systemd.stop(active(world, "served"))
    world.systemd.settle_one(active(world, "served"))
    run_until_loading(world)
    assert active(world, "served") in many.loading(world)
    assert len(many.loading(world)) == 2


def test_many_that_served_and_are_down_come_back_so_many_at_once_and_none_is_stalled(world: World) -> None:
    """The passes in which one waits for its turn are no repairs: more of them than the budget has come and go."""
    limit(world, 1)
    many.select(world, 9)
    many.roll_out(world)
    for name in world.status():
        world.systemd.stop(active(world, name))
    world.systemd.settle()
    _, most = many.roll_out(world)
    assert most == 1
    assert {one.state for one in world.status().values()} == {State.SERVING}


def test_a_server_that_waits_for_its_restart_takes_no_place(world: World) -> None:
    """Or one that ends again and again would hold up all others."""
    limit(world, 1)
    world.select(demo=1)
    world.converge()
    world.systemd.crash(active(world))
    world.select(demo=1, other=1)
    run_until_loading(world)
    assert "other" in {names.deployment_of(unit) for unit in many.loading(world)}


def test_what_failed_comes_after_what_has_not(world: World) -> None:
    """Whatever their names."""
    limit(world, 1)
    world.failures["model-a@1.00000000.service"] = Behaviour(works=False)
    world.select(a=1, b=1)
    run_until_loading(world)
    (first,) = many.loading(world)
    world.failures[first] = Behaviour(works=False)
    world.systemd.settle_one(first)
    run_until_loading(world)
    (second,) = many.loading(world)
    assert names.deployment_of(second) == "b"


@pytest.mark.parametrize(("processors", "places"), [(1, 2), (2, 2), (6, 6)])
def test_by_default_there_is_a_place_for_each_processor(
    world: World, monkeypatch: pytest.MonkeyPatch, processors: int, places: int
) -> None:
    """And two at least."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _process: set(range(processors)))
    limit(world, 0)
    many.select(world, 9)
    run_until_loading(world)
    assert len(many.loading(world)) == places
