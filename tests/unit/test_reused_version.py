"""Another model's files under a number that is used here: refused until a person says that they replace these."""

import os

from reconciler.core.operators.requests import Request
from reconciler.core.operators.verbs import Verb
from reconciler.core.state.status import State
from reconciler.core.units import names
from reconciler.files.request_client import RequestClient
from tests.fakes.systemd import Behaviour
from tests.unit.conftest import World

DIRECTORY = "mlflow-deploy/model_deploys/demo/releases/1"


def ask(world: World, verb: Verb = Verb.REPLACE) -> str:
    """What ana is told, with the next pass."""

    def wait(_seconds: float) -> None:
        world.reconciler.one_pass()

    asker = RequestClient(world.state / "requests", os.getuid(), pause=wait)
    return asker.ask("1", Request(verb=verb, name="demo", by="ana")).message


def taken(world: World) -> None:
    """Version 1 serves, and the registry has another version 1 by now, with other files."""
    world.select(demo=1)
    world.converge()
    world.files = lambda _name, _version: "f" * 64
    rebuilt(world)
    world.converge()
    assert world.status()["demo"].reason == "number-used-again"


def rebuilt(world: World, origin: str = "other") -> None:
    """The registry is another server, whose numbers begin at 1 again."""
    world.origin = origin
    world.select(demo=1)


def fetched_from(world: World) -> str:
    """The source that the unit of version 1 names."""
    return "other" if "models:/other-demo1" in (world.etc / names.fetch_unit("demo", 1)).read_text() else "m"


def test_what_a_person_said_is_done_once_and_for_that_version_only(world: World) -> None:
    """Everything of the former goes, with its pins; the other one comes as a first release does."""
    taken(world)
    ledger = world.reconciler.ledger
    before, pins = ledger.ledger.record("demo"), set(ledger.ledger.pins())
    assert ask(world) == (
        "demo is taken out of service and its files are removed; what the registry has under number 1 now takes their "
        "place, and until it serves requests are refused"
    )
    world.converge()
    status, after = world.status()["demo"], ledger.ledger.record("demo")
    assert (status.state, status.active_version, fetched_from(world)) == (State.SERVING, "1", "other")
    assert after.good not in (None, before.good)
    assert (after.before, after.replacing) == ((), None)
    assert list(after.files.values()) == ["f" * 64]
    assert not pins & {name for name in ledger.ledger.pins() if name.startswith("demo.")}
    rebuilt(world, "m")
    world.converge()
    assert world.status()["demo"].reason == "number-used-again", "the former one needs another word"


def test_nothing_of_the_former_is_there_when_the_other_is_fetched(world: World) -> None:
    """Its address is closed before its server stops, its directory is gone before the other one is written there."""
    taken(world)
    socket, fetch = names.socket_unit("demo"), names.fetch_unit("demo", 1)
    ask(world)
    gone = False
    for _ in range(60):
        seen = world.reconciler.observe()
        if not gone and not any(names.parse_server(unit) and not one.is_down for unit, one in seen.units.items()):
            assert seen.unit(socket).is_down, "an address without anybody behind it"
        gone = gone or DIRECTORY not in world.systemd.state_directories
        assert gone or not (world.etc / fetch).exists() or fetched_from(world) == "m", "fetched over the former one"
        world.systemd.settle()
        world.reconciler.one_pass()
    assert gone
    assert world.status()["demo"].state is State.SERVING


def test_one_that_does_not_come_up_leaves_nothing_in_its_place(world: World) -> None:
    """There is nothing to go back to; it is rejected, refused to clients, and not replaced once more."""
    taken(world)
    works, broken = (
        world.systemd.behave,
        Behaviour(works=False, status_text="cannot load the model: KeyError: 'x'; mend"),
    )
    world.systemd.behave = lambda unit: broken if names.parse_server(unit) else works(unit)
    ask(world)
    world.converge()
    status = world.status()["demo"]
    assert (status.state, status.reason, status.active_version) == (State.FAILED, "start-failed", None)
    assert world.reconciler.observe().unit(names.socket_unit("demo")).is_down
    assert "has a number of its own here" in ask(world)


def test_a_word_for_a_version_that_is_not_wanted_any_more_is_forgotten(world: World) -> None:
    """Said while suspended, so that nothing was done yet; what serves goes on serving."""
    taken(world)
    ask(world, Verb.SUSPEND)
    assert ", but not before reconciler resume demo: it is suspended by ana since" in ask(world)
    assert world.reconciler.ledger.ledger.record("demo").replacing is not None
    rebuilt(world, "m")
    world.converge()
    assert world.reconciler.ledger.ledger.record("demo").replacing is None
    rebuilt(world)
    ask(world, Verb.RESUME)
    world.converge()
    status = world.status()["demo"]
    assert (status.state, status.active_version, status.reason) == (State.DEGRADED, "1", "number-used-again")


def test_files_that_changed_under_their_number_cannot_be_accepted(world: World) -> None:
    """The same source with other bytes is what nobody registered."""
    world.select(demo=1)
    world.converge()
    assert ask(world) == (
        "cannot replace the files of demo: what the registry selects has a number of its own here; reconciler rollout "
        "demo rolls it out anew, files that changed under their number need a new version"
    )
    world.select()
    assert "has a number of its own here" in ask(world)
