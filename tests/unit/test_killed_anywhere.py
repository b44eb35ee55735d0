"""Whatever the reconciler is at when it is killed, its successor goes on and ends where it would have ended itself."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.operators.requests import Request
from reconciler.core.operators.verbs import Verb
from reconciler.core.planner.actions import Action
from reconciler.core.state.audit import Entry, breaks
from reconciler.core.state.status import State
from reconciler.core.units import names
from reconciler.files.atomic import replace_file
from reconciler.files.audit_file import audit_entries, audit_lines
from reconciler.settings.model import DeploySettings, ReconcileSettings, Settings
from tests.unit.conftest import OPEN, World

SOAK = 60
Step = Callable[[World], object]


class KilledError(BaseException):
    """The reconciler died here."""


@dataclass(frozen=True)
class Story:
    """Steps that are taken undisturbed, then steps after which the reconciler may be killed before all is quiet."""

    before: tuple[Step, ...]
    steps: tuple[Step, ...]
    ends: dict[str, tuple[State, str]]
    """State and serving version by deployment."""
    deploy: dict[str, object]
    reconcile: dict[str, object]


def story(before: tuple[Step, ...], steps: tuple[Step, ...], ends: str, **settings: object) -> Story:
    """Tell a story that ends as `name=version state` says."""
    words = (one.partition("=")[::2] for one in ends.split(", ") if one)
    parsed = {name: (State(end.partition(" ")[2]), end.partition(" ")[0]) for name, end in words}
    reconcile = {key: value for key, value in settings.items() if key in ReconcileSettings.model_fields}
    deploy = {key: value for key, value in settings.items() if key not in reconcile}
    return Story(before, steps, parsed, {"soak": SOAK, "keep_releases": 1, "removal_grace": 0, **deploy}, reconcile)


def select(**versions: int) -> Step:
    """The registry selects other versions."""
    return lambda world: world.select(**versions)


def soaked(world: World) -> None:
    """The soak is over."""
    world.now += SOAK + 1


def errors(world: World) -> None:
    """The release that serves answers with errors."""
    (serving,) = [unit for unit, one in world.systemd.units().items() if names.parse_server(unit) and one.is_up]
    world.systemd.serve(serving, 100, 50)


def ask(verb: Verb, name: str | None = None) -> Step:
    """A person asks for something."""

    def step(world: World) -> None:
        directory = world.state / "requests"
        directory.mkdir(exist_ok=True)
        request = Request(schema=1, verb=verb, name=name, by="ana")
        replace_file(directory / "1.json", request.model_dump_json(by_alias=True).encode(), 0o600)

    return step


def rebuilt(world: World) -> None:
    """The registry is another server."""
    world.origin = "other"


def scale(replicas: int) -> Step:
    """Other settings, which are read when the reconciler starts."""

    def step(world: World) -> None:
        deploy = DeploySettings(**{**world.settings.deploy.model_dump(), "replicas": replicas})
        world.settings = world.settings.model_copy(update={"deploy": deploy})
        world.reconciler.settings = world.settings

    return step


FIRST = (select(a=1),)
STORIES = {
    "a first release": story((), FIRST, "a=1 serving"),
    "a rollout": story(FIRST, (select(a=2), soaked), "a=2 serving"),
    "an update by replacement": story(FIRST, (select(a=2), soaked), "a=2 serving", strategy="recreate"),
    "a rollout of replicas": story(FIRST, (select(a=2), soaked), "a=2 serving", replicas=2),
    "a rollback": story((*FIRST, select(a=2)), (errors,), "a=1 degraded"),
    "a rollback by replacement": story((*FIRST, select(a=2)), (errors,), "a=1 degraded", strategy="recreate"),
    "a rollback by hand": story((*FIRST, select(a=2), soaked), (ask(Verb.ROLLBACK, "a"),), "a=1 degraded"),
    "another model's files in the place of these": story(
        (*FIRST, rebuilt, select(a=1)), (ask(Verb.REPLACE, "a"), soaked), "a=1 serving"
    ),
    "more replicas": story(FIRST, (scale(3),), "a=1 serving"),
    "fewer replicas": story(FIRST, (scale(1),), "a=1 serving", replicas=3),
    "a removal": story((select(a=1, b=1),), (select(b=1),), "b=1 serving"),
    "a removal that is held and confirmed": story(
        (select(a=1, b=1),),
        (select(b=1), ask(Verb.CONFIRM_PRUNE)),
        "b=1 serving",
        prune_from=1,
        prune_share=0,
    ),
}


def told(world: World, one: Story, dies_after: int | None) -> int:
    """Live through a story, killed after so many actions of it; gives how many there were."""
    for step in one.before:
        step(world)
        world.converge()
    done = 0

    def after(_number: int, _action: Action) -> None:
        nonlocal done
        done += 1
        if done == dies_after:
            raise KilledError

    world.reconciler.runner.after_action = after
    for step in one.steps:
        step(world)
        try:
            world.converge()
        except KilledError:
            world.new_reconciler().runner.after_action = after
            world.converge()
    return done


def end(world: World) -> dict[str, Any]:
    """Everything about a host that must not depend on when the reconciler was killed."""
    where = str(world.directory)
    status = {name: one.model_dump(exclude={"since"}) for name, one in world.status().items()}
    return {
        "files": {path.name: path.read_text() for path in world.etc.iterdir() if path.is_file()},
        "copies": {path.name: path.read_text() for path in (world.state / "rendered").iterdir()},
        "enabled": {path.name: str(path.readlink()).removeprefix(where) for path in world.etc.glob("*.wants/*")},
        "units": {unit: (one.active, one.sub, one.status_text) for unit, one in world.systemd.units().items()},
        "directories": world.systemd.state_directories,
        "ledger": world.reconciler.ledger.ledger,
        "history": [(run.name, run.release, run.began is None, run.ended is None) for run in history(world)],
        "audit": [(one.number, one.event, one.name, one.release) for one in audited(world)],
        "status": status,
    }


def history(world: World) -> Iterator[Any]:
    """What ran."""
    yield from world.reconciler.desk.history.history.runs


def audited(world: World) -> Iterator[Entry]:
    """The audit log, in which nothing is missing or twice."""
    lines = list(audit_lines(world.state / "audit"))
    assert not list(breaks(lines))
    yield from audit_entries(lines)


@pytest.mark.parametrize("name", STORIES)
def test_a_kill_after_any_action_changes_nothing_in_the_end(tmp_path: Path, name: str) -> None:
    """Die after the first action, after the second, and so on: always the same end."""
    one = STORIES[name]
    settings = Settings(
        policy=OPEN,
        deploy=DeploySettings(**one.deploy),  # type: ignore[arg-type]  # validated by pydantic
        reconcile=ReconcileSettings(**one.reconcile),  # type: ignore[arg-type]  # the same
    )
    undisturbed = World(tmp_path / "host", settings=settings)
    total = told(undisturbed, one, None)
    wanted = end(undisturbed)
    assert {key: (each.state, each.active_version) for key, each in undisturbed.status().items()} == one.ends
    assert total > 2
    for number in range(1, total + 1):
        world = World(tmp_path / f"host{number}", settings=settings)
        assert told(world, one, number) >= number
        assert end(world) == wanted, f"killed after action {number}"
