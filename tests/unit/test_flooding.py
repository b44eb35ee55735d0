"""A server that changes too often, over the fake systemd: killed, told, and undone where it did not prove itself."""

import dataclasses
from datetime import UTC, datetime

import pytest
from structlog.testing import capture_logs

from reconciler.core.planner import actions as act
from reconciler.core.planner.flooding import WHY
from reconciler.core.state.ledger import Suspension
from reconciler.core.state.status import State
from reconciler.core.units import names
from reconciler.settings.model import DeploySettings, Settings
from tests.unit.conftest import OPEN, World


@pytest.fixture
def soaking(world: World) -> World:
    """Version 1 of a model proved itself and stands by, version 2 is in its soak."""
    world.settings = Settings(policy=OPEN, deploy=DeploySettings(soak=100, keep_releases=1, removal_grace=0))
    world.new_reconciler()
    world.select(demo=1)
    world.converge()
    world.select(demo=2)
    world.converge()
    assert world.status()["demo"].reason == "soaking"
    return world


def running(world: World, version: int) -> str:
    """The server of a version."""
    (unit,) = [
        unit
        for unit in world.systemd.units()
        if (server := names.parse_server(unit)) and server.release.version == version
    ]
    return unit


def actions(world: World) -> list[act.Action]:
    """Collect what is done from now on."""
    done: list[act.Action] = []
    world.reconciler.runner.after_action = lambda _number, action: done.append(action)
    return done


def test_what_floods_in_its_soak_is_killed_and_undone(soaking: World) -> None:
    """The status says why; the release before it takes over again."""
    unit = running(soaking, 2)
    soaking.systemd.flood(unit)
    done = actions(soaking)
    soaking.converge()
    assert done[0] == act.Kill("demo", unit, WHY)
    one = soaking.status()["demo"]
    assert (one.state, one.reason, one.active_version) == (State.DEGRADED, "failed-in-soak", "1")
    assert one.message == f"cannot keep version 2 of demo: {WHY}"


def test_what_proved_itself_is_killed_and_started_again(world: World) -> None:
    """It is told, in the story of the model; its neighbour is left alone."""
    world.select(demo=1, other=1)
    world.converge()
    unit, neighbour = next(
        (one, other)
        for one in world.systemd.units()
        for other in world.systemd.units()
        if one.startswith("model-demo@") and other.startswith("model-other@")
    )
    before = world.systemd.units()[neighbour]
    world.systemd.flood(unit)
    with capture_logs() as told:
        world.converge()
    assert [one["MODEL"] for one in told if one["event"] == f"kill {unit}: {WHY}"] == ["demo"]
    assert world.systemd.units()[unit].restarts == 1
    assert world.systemd.units()[neighbour] == before
    assert {one.state for one in world.status().values()} == {State.SERVING}


@pytest.mark.parametrize("why", ["it is down", "a person suspended it"])
def test_what_is_down_or_suspended_is_not_killed(soaking: World, why: str) -> None:
    """The reconciler does not listen to it either way."""
    unit = running(soaking, 2)
    soaking.systemd.flood(unit)
    if why == "it is down":
        soaking.systemd.put(dataclasses.replace(soaking.systemd.units()[unit], active="failed", result="watchdog"))
    else:
        ledger = soaking.reconciler.ledger
        suspended = Suspension(by="ana", since=datetime.now(UTC))
        record = ledger.ledger.record("demo").model_copy(update={"suspended": suspended})
        ledger.write(ledger.ledger.with_record("demo", record))
    done = actions(soaking)
    soaking.converge()
    assert not [one for one in done if isinstance(one, act.Kill)]
