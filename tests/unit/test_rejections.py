"""What rejects a release at the edges of its soak, how it is told, and what lifts a rejection."""

import datetime
from pathlib import Path

import pytest

from reconciler.core.state.status import State
from reconciler.core.units import names
from reconciler.settings.model import PolicySettings, Settings
from tests.fakes.systemd import Behaviour
from tests.unit.conftest import World
from tests.unit.rollouts import active, active_release, deploy, rolled_out, servers, story

POLICY = PolicySettings(names=("*",), tags=("memory_max", "soak", "max_error_rate", "strategy", "replicas"))


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A host whose releases have a soak, and which lets a model's tags change some settings."""
    return World(tmp_path / "host", settings=settings())


def settings(**changes: object) -> Settings:
    """The settings of `deploy`, with tags that are allowed."""
    return deploy(**changes).model_copy(update={"policy": POLICY})


def select(world: World, version: int, **tags: str) -> None:
    """Have the registry select a version of demo with these tags."""
    model = {
        "name": "demo",
        "version": version,
        "source": f"models:/m-demo{version}",
        "selected_by": "stage:Production",
        "settings": tags,
    }
    read_at = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC).isoformat()
    world.write_snapshot({"schema": 1, "registry": "http://r", "read_at": read_at, "models": [model], "known": []})


def test_without_a_soak_a_release_is_judged_until_it_is_marked_as_proven(tmp_path: Path) -> None:
    """Between two passes: the socket names it already, and a server of it ends."""
    world = World(tmp_path / "host", settings=deploy(soak=0))
    rolled_out(world, 1)
    world.select(demo=2)
    while not active(world).startswith("model-demo@2."):
        world.reconciler.one_pass()
        world.systemd.settle()
    record = world.reconciler.ledger.ledger.record("demo")
    assert record.good is not None
    assert record.good.version == 1
    world.systemd.crash(active(world))
    world.converge()
    assert story(world) == (State.DEGRADED, "2", "1", "failed-in-soak")


def test_too_many_errors_are_told_with_the_unit_that_has_most_of_them(world: World) -> None:
    """The answers of all servers are one sum; their exceptions are in the journal of each."""
    world.settings = settings(replicas=2)
    world.new_reconciler()
    rolled_out(world, 1)
    world.select(demo=2)
    world.converge()
    second = names.server_unit("demo", active_release(world), 2)
    world.systemd.serve(active(world), 30, 1)
    error = "KeyError (pauses.py line 9, in predict)"
    world.systemd.says(second, f"answering as demo; last error: {error}; requests=10 errors=7")
    world.converge()
    assert world.status()["demo"].message == (
        "cannot keep version 2 of demo: 8 of its first 40 answers were errors of its own, more than 10 %, the last one "
        f"KeyError in line 9; see the journal of {second}"
    )


def test_a_pre_empted_candidate_is_judged_by_the_limit_of_the_host(world: World) -> None:
    """Its unit files do not say its tags: the registry selects another version by now."""
    rolled_out(world, 1)
    select(world, 2, max_error_rate="50")
    world.converge()
    world.systemd.serve(active(world), 20, 8)
    world.converge()
    assert story(world) == (State.ROLLING_OUT, "2", "2", "soaking")
    world.failures[names.fetch_unit("demo", 3)] = Behaviour(works=False, status_text="cannot download it: away")
    select(world, 3)
    world.converge()
    assert servers(world) == {"1.1": "serves"}
    assert world.reconciler.ledger.ledger.record("demo").rejected[0].reason == "errors-in-soak"


def reject(world: World) -> None:
    """Version 2 fails in its soak beside version 1."""
    rolled_out(world, 1)
    select(world, 2)
    world.converge()
    world.systemd.crash(active(world))
    world.converge()
    assert story(world) == (State.DEGRADED, "2", "1", "failed-in-soak")


@pytest.mark.parametrize(
    ("tags", "lifts"),
    [
        ({"memory_max": "1G"}, True),
        ({"soak": "10"}, False),
        ({"max_error_rate": "90"}, False),
        ({"strategy": "recreate"}, False),
        ({"replicas": "2"}, False),
    ],
    ids=str,
)
def test_other_tags_lift_a_rejection_if_they_make_another_release(
    world: World, tags: dict[str, str], lifts: bool
) -> None:
    """What only changes how a release comes into service is no other release."""
    reject(world)
    select(world, 2, **tags)
    world.converge()
    tried = story(world)[:3] == (State.ROLLING_OUT, "2", "2")
    assert tried == lifts


def test_another_version_in_between_lifts_no_rejection(world: World) -> None:
    """Nor does taking the model out of production and promoting the version again."""
    reject(world)
    rolled_out(world, 4)
    select(world, 2)
    world.converge()
    assert story(world) == (State.DEGRADED, "2", "4", "failed-in-soak")
    world.known.add("demo")
    world.select()
    world.converge()
    assert not world.status()
    select(world, 2)
    world.converge()
    assert story(world) == (State.FAILED, "2", None, "failed-in-soak")


def test_other_settings_lift_a_rejection_while_nothing_else_serves(world: World) -> None:
    """It cannot get worse then; beside a release that serves it could."""
    reject(world)
    world.settings = settings(memory_max=1024**3)
    world.new_reconciler()
    world.converge()
    assert story(world) == (State.DEGRADED, "2", "1", "failed-in-soak")
    world.known.add("demo")
    world.select()
    world.converge()
    select(world, 2)
    world.converge()
    assert story(world) == (State.SERVING, "2", "2", "")
