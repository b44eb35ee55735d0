"""What `reconciler plan` shows: a diff by deployment, what follows, what waits, in words and as JSON."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from reconciler.cli.plan_text import print_plan
from reconciler.core.state.plan_document import ShownPlan
from reconciler.core.state.status import State
from reconciler.core.units import names
from reconciler.core.units.observed import Observed, Unit
from tests.fakes.systemd import Behaviour
from tests.unit.conftest import CHECKOUT, World
from tests.unit.rollouts import SOAK, active, deploy, rolled_out

SCHEMA = CHECKOUT / "docs" / "plan.schema.json"


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A host whose releases have a soak, and which keeps one release to go back to."""
    return World(tmp_path / "host", settings=deploy())


def look(world: World) -> ShownPlan:
    """The plan of this moment, as the reconciler shows it."""
    reading, seen = world.reconciler.snapshots.read(), world.reconciler.observe()
    world.reconciler.take_note(reading, seen)
    return world.reconciler.show(reading, seen)


def printed(plan: ShownPlan, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What people read."""
    capsys.readouterr()
    print_plan(plan)
    return capsys.readouterr().out.splitlines()


def test_before_the_registry_was_ever_read_a_plan_says_so(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """That is not the same as nothing to do."""
    world.reconciler.one_pass()
    plan = look(world)
    assert (plan.registry_read, plan.has_changes) == (False, False)
    assert printed(plan, capsys) == ["nothing is planned: this host never read the registry; see reconciler check"]


def test_a_host_that_is_as_it_should_be_has_nothing_to_do(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """In one line."""
    rolled_out(world, 1)
    plan = look(world)
    assert not plan.has_changes
    assert printed(plan, capsys) == ["nothing to do"]


def test_a_new_version_is_a_diff_with_what_follows_it(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """The first step as lines, the later ones in words, with their times."""
    rolled_out(world, 1)
    world.select(demo=2)
    plan = look(world)
    assert plan.has_changes
    assert printed(plan, capsys) == [
        "demo: version 2 in place of version 1",
        "  + mlflow-fetch@demo.2.service: write, start",
        "  then: build its environment unless it is here, verify the files, start version",
        "    2 beside version 1, have it take over the address, watch it for 60 s, stop",
        "    version 1 and keep it for a rollback",
        "1 change, which the reconciler makes by itself",
    ]


def test_while_a_step_runs_it_is_under_way_and_the_rest_follows(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever waits for an empty plan must not take a pause between two steps for the end."""
    world.select(demo=1)
    world.reconciler.one_pass()
    plan = look(world)
    assert (plan.actions, plan.has_changes) == ((), True)
    lines = printed(plan, capsys)
    assert lines[:2] == ["demo: version 1, new", "  under way: mlflow-fetch@demo.1.service"]
    assert lines[-1] == "nothing to do before what is under way has ended"


def test_a_foreign_unit_is_nothing_to_wait_for() -> None:
    """Nor is one that rests."""
    moving = ("activating", "deactivating", "maintenance", "reloading")
    units = [*(Unit(one, active=one) for one in (*moving, "active", "failed")), Unit("down")]
    seen = Observed({unit.name: unit for unit in units}, foreign=frozenset({"reloading"}))
    assert seen.under_way == ["activating", "deactivating", "maintenance"]


def test_in_its_soak_a_release_waits_and_what_follows_is_told(world: World) -> None:
    """Nothing is done, so it is no change."""
    rolled_out(world, 1, 2)
    world.select(demo=3)
    world.converge()
    plan = look(world)
    assert not plan.has_changes
    (waiting,) = plan.waits
    assert (waiting.state, waiting.reason) == (State.ROLLING_OUT, "soaking")
    assert waiting.then == ("stop version 2 and keep it for a rollback", "remove version 1")


def test_an_environment_is_named_by_the_models_that_use_it(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A digest says nothing to people."""
    world.environment = lambda _name, _version: "e" * 32
    world.select(a=1, b=1)
    world.reconciler.one_pass()
    world.systemd.settle()
    text = " ".join(" ".join(printed(look(world), capsys)).split())
    assert f"+ mlflow-build@{'e' * 32}.service: write, start (environment of a, b)" in text


def test_what_failed_and_waits_is_no_change_and_says_when(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """So a plan shows drift also where one model fails for ever."""
    rolled_out(world, 1)
    world.failures["mlflow-build@" + "2".zfill(32) + ".service"] = Behaviour(works=False, status_text="cannot build")
    world.select(demo=2)
    world.converge()
    plan = look(world)
    assert not plan.has_changes
    (waiting,) = plan.waits
    assert (waiting.state, waiting.tries) == (State.DEGRADED, 1)
    assert waiting.retry_at is not None
    assert waiting.retry_at.timestamp() == world.now + 10
    lines = printed(plan, capsys)
    assert lines[0] == "waits"
    assert lines[1].startswith("  demo: degraded: ")
    assert "again at" in " ".join(lines)
    assert lines[-1] == "nothing to do"


def test_removals_and_repairs_have_their_signs(world: World) -> None:
    """`-` for what goes, `~` for what is changed, in the order in which it is done."""
    rolled_out(world, 1)
    unit = active(world)
    (world.etc / unit).write_text("edited")
    plan = look(world)
    assert [(one.sign, one.unit, one.what) for one in plan.deployments[0].changes] == [("~", unit, "restore")]
    world.converge()
    world.select(demo=1, other=1)
    world.converge()
    world.select(other=1)
    world.reconciler.one_pass()
    world.systemd.settle()
    signs = {change.unit: change.sign for one in look(world).deployments for change in one.changes}
    while "-" not in signs.values():
        world.reconciler.one_pass()
        world.systemd.settle()
        signs = {change.unit: change.sign for one in look(world).deployments for change in one.changes}
    assert signs[names.socket_unit("demo")] == "-"


def test_a_plan_fits_80_columns(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """Only a name that is longer than a line does not; it is copied as a whole."""
    world.select(**{"a-model-with-a-name-of-its-own": 12, "b": 1})
    lines = printed(look(world), capsys)
    assert len(lines) > 4
    assert max(map(len, lines)) <= 80


def test_signs_are_coloured_on_a_terminal_only(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not where people said that they want no colours."""
    world.select(demo=1)
    plan = look(world)
    assert "\x1b" not in "".join(printed(plan, capsys))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "  \x1b[32m+\x1b[0m mlflow-fetch@demo.1.service" in "\n".join(printed(plan, capsys))
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in "".join(printed(plan, capsys))


def test_what_others_wrote_cannot_paint_the_terminal(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    """A failure can quote a model's own words."""
    world.failures["mlflow-fetch@demo.1.service"] = Behaviour(
        works=False, status_text="\x1b[31mcannot\u202e fetch\n+ x"
    )
    world.select(demo=1)
    world.converge()
    lines = printed(look(world), capsys)
    assert all(line.isprintable() for line in lines)
    assert not any(line.startswith("+") for line in lines)


def _check(value: object, schema: Mapping[str, Any], whole: Mapping[str, Any]) -> None:
    """Check a value against what JSON Schema pydantic writes for our models: types, enums, patterns, required keys."""
    if "$ref" in schema:
        _check(value, whole["$defs"][schema["$ref"].rpartition("/")[2]], whole)
    elif "anyOf" in schema:
        assert any(_fits(value, one, whole) for one in schema["anyOf"]), (value, schema)
    elif schema.get("type") == "object":
        assert isinstance(value, dict)
        assert set(schema["required"]) <= set(value) <= set(schema["properties"])
        for key, part in value.items():
            _check(part, schema["properties"][key], whole)
    elif schema.get("type") == "array":
        assert isinstance(value, list)
        for part in value:
            _check(part, schema["items"], whole)
    else:
        assert value in schema.get("enum", [schema.get("const", value)])
        types: dict[str, type] = {"string": str, "integer": int, "boolean": bool, "null": type(None)}
        assert isinstance(value, types[schema["type"]])


def _fits(value: object, schema: Mapping[str, Any], whole: Mapping[str, Any]) -> bool:
    try:
        _check(value, schema, whole)
    except AssertionError:
        return False
    return True


def test_what_is_printed_keeps_to_the_schema_in_the_docs(world: World) -> None:
    """What is really printed keeps to it: a rollout, a removal, a failure, a note."""
    written = json.loads(SCHEMA.read_text())
    rolled_out(world, 1)
    world.failures["mlflow-fetch@broken.1.service"] = Behaviour(works=False, status_text="cannot fetch it")
    kinds = set()
    for selected in ({"demo": 2, "broken": 1}, {"demo": 2, "broken": 1, "new": 1}, {"new": 1}, {}):
        world.select(**selected)
        for _ in range(12):
            world.now += SOAK / 3
            shown = look(world)
            document = json.loads(shown.model_dump_json(by_alias=True))
            _check(document, written, written)
            assert ShownPlan.model_validate(document) == shown
            kinds |= {change["sign"] for one in document["deployments"] for change in one["changes"]}
            kinds |= {"waits" for _ in document["waits"]} | {"shared" for _ in document["shared"]}
            world.reconciler.one_pass()
            world.systemd.settle()
    assert kinds == {"+", "~", "-", "waits", "shared"}
