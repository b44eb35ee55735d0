"""A few steps at a time: never more, all of them in the end, and none that keeps down what served."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.planner.step_limit import step_of
from reconciler.core.state.status import State
from reconciler.core.units import names
from reconciler.core.units.observed import Unit
from reconciler.settings.model import DeploySettings, ReconcileSettings, Settings
from tests.fakes.systemd import Behaviour
from tests.unit.conftest import OPEN, World, in_memory


def configure(world: World, parallel_steps: int) -> None:
    """Have so many steps run at once."""
    world.settings = Settings(
        policy=OPEN,
        deploy=DeploySettings(soak=0, keep_releases=0, removal_grace=0),
        reconcile=ReconcileSettings(parallel_steps=parallel_steps),
    )
    world.new_reconciler()


def under_way(world: World) -> list[str]:
    """The steps that run."""
    units = world.systemd.units()
    return sorted(unit for unit, state in units.items() if state.active == "activating" and step_of(unit))


def converge(world: World, at_most: int) -> int:
    """Run passes until nothing changes; gives how many steps ran at once at most, and checks it after each pass."""
    most = 0
    for _ in range(400):
        acted = world.reconciler.one_pass()
        running = under_way(world)
        assert len(running) <= at_most, running
        most = max(most, len(running))
        if running:
            world.systemd.settle_one(running[len(running) // 2])
        elif not acted:
            world.systemd.settle()
            if not world.reconciler.one_pass():
                return most
    raise AssertionError("still acting")


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 5), st.integers(1, 9), st.booleans())
def test_never_more_than_the_limit_and_all_serve_in_the_end(limit: int, models: int, shared: bool) -> None:
    """Whatever ends first; environments of their own, or one for all."""
    with in_memory() as directory:
        world = World(directory / "host")
        configure(world, limit)
        if shared:
            world.environment = lambda _name, _version: f"{7:032x}"
        world.select(**{f"m{number}": 1 for number in range(models)})
        assert converge(world, limit) == min(limit, models)
        assert {one.state for one in world.status().values()} == {State.SERVING}
        world.select(**{f"m{number}": 2 for number in range(models)})
        converge(world, limit)
        assert {one.active_version for one in world.status().values()} == {"2"}


def test_what_waits_says_so(world: World) -> None:
    """In its status, with the setting that decides it."""
    configure(world, 1)
    world.select(a=1, b=1)
    world.reconciler.one_pass()
    assert under_way(world) == ["mlflow-fetch@a.1.service"]
    status = world.status()
    assert (status["a"].reason, status["b"].reason) == ("fetching", "waiting")
    assert status["b"].message == (
        "waits for its turn to fetch version 1: another is running (reconcile.parallel_steps)"
    )


def test_what_failed_comes_after_what_has_not(world: World) -> None:
    """Downloads that fail again and again do not keep others from their first try, whatever their names."""
    configure(world, 1)
    world.failures = {names.fetch_unit("a", 1): Behaviour(works=False, status_text="cannot fetch: it drips; wait")}
    world.select(a=1)
    world.converge()
    assert world.status()["a"].reason == "fetch-failed"
    world.select(a=1, b=1)
    world.now += 1000  # both may be tried
    world.reconciler.one_pass()
    assert under_way(world) == ["mlflow-fetch@b.1.service"]
    assert world.status()["a"].reason == "waiting"


def test_what_is_nearest_to_its_end_comes_first(world: World) -> None:
    """Otherwise many that have only begun would keep the first one from serving."""
    configure(world, 1)
    world.select(z=1)
    world.reconciler.one_pass()
    world.select(a=1, z=1)
    world.systemd.settle()
    world.reconciler.one_pass()
    assert [unit.partition("@")[0] for unit in under_way(world)] == ["mlflow-build"]


@pytest.mark.parametrize("lost", ["verification", "everything"])
def test_what_brings_back_what_served_waits_for_nobody(world: World, lost: str) -> None:
    """Although as many downloads as may be run, for half an hour each."""
    configure(world, 2)
    world.select(good=1)
    world.converge()
    world.select(good=1, a=1, b=1, c=1)
    world.reconciler.one_pass()
    assert under_way(world) == ["mlflow-fetch@a.1.service", "mlflow-fetch@b.1.service"]
    (server,) = [unit for unit in world.systemd.units() if names.parse_server(unit)]
    verify, fetch = names.verify_unit("good", 1), names.fetch_unit("good", 1)
    world.systemd.stop(server)
    world.systemd.settle_one(server)
    world.systemd.put(Unit(verify, active="failed", sub="failed", result="exit-code", ended=world.now))
    if lost == "everything":
        world.systemd.stop(fetch)
        world.systemd.settle_one(fetch)
    busy = {"mlflow-fetch@a.1.service", "mlflow-fetch@b.1.service"}
    for _ in range(30):
        world.now += 1000
        world.reconciler.one_pass()
        assert busy <= set(under_way(world))
        for unit in set(world.systemd.units()) - busy:
            world.systemd.settle_one(unit)
        if world.systemd.units().get(server, Unit(server)).is_up:
            return
    raise AssertionError(f"{server} does not serve: {world.status()['good']}")
