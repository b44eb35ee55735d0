"""What waits for a person over the fake systemd: removals, suspended and stalled deployments."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from reconciler.apply.unit_files import UnitFiles
from reconciler.core.operators.context import DeploymentSummary
from reconciler.core.operators.requests import RefusedRequestError, Request
from reconciler.core.operators.rollback import roll_back
from reconciler.core.operators.verbs import Verb
from reconciler.core.planner.actions import WithdrawConfirmation
from reconciler.core.state.ledger import Record, Stall, Suspension
from reconciler.core.state.status import State
from reconciler.core.units import names
from tests.unit.conftest import World
from tests.unit.rollouts import active, deploy, rolled_out, story


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A host whose releases have a soak, and which keeps one release to go back to."""
    return World(tmp_path / "host", settings=deploy())


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


def gone_by(world: World) -> str | None:
    """The registry that the host goes by."""
    agreed = world.reconciler.ledger.ledger.agreed
    return agreed.source.registry if agreed else None


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
    assert gone_by(world) == "http://other"
    world.write_snapshot({**document, "models": [], "known": ["a"]})
    world.converge()
    assert "a" not in world.status()


def test_a_confirmed_removal_is_off_when_the_registry_selects_it_again(world: World) -> None:
    """The next one needs another confirmation."""
    world.select(a=1, b=1, c=1, d=1)
    world.converge()
    ledger = world.reconciler.ledger
    ledger.write(ledger.ledger.model_copy(update={"prune_confirmed": frozenset({"a", "b", "c"})}))
    done = []
    world.reconciler.runner.after_action = lambda _number, action: done.append(action)
    world.converge()
    assert [action.deployment for action in done if isinstance(action, WithdrawConfirmation)] == ["a", "b", "c"]
    world.select(d=1)
    world.converge()
    assert {one.state for name, one in world.status().items() if name != "d"} == {State.HELD}


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
    assert gone_by(world) == "http://r"


def _suspend(world: World, *names_: str, resume: tuple[str, ...] = ()) -> None:
    ledger = world.reconciler.ledger
    since = datetime(2026, 1, 1, tzinfo=UTC)
    for name in (*names_, *resume):
        suspended = None if name in resume else Suspension(by="ana", since=since)
        record = ledger.ledger.record(name).model_copy(update={"suspended": suspended})
        ledger.write(ledger.ledger.with_record(name, record))


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
    request = Request(verb=Verb.ROLLBACK, name="demo", by="jane", why="it looks wrong")
    with pytest.raises(RefusedRequestError, match="no longer selects it; promote a version instead"):
        roll_back(Record(), request, DeploymentSummary(selected=False))


def _full(_files: UnitFiles, _unit: str) -> None:
    raise OSError(28, "No space left on device")
