"""Who makes the plan of `reconciler plan`: the reconciler that runs, else the command."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from reconciler.cli import main, plan_reading
from reconciler.daemon import wiring
from reconciler.files import plan_file, request_client
from reconciler.files.request_client import RequestClient
from tests.fakes.systemd import Behaviour
from tests.unit.conftest import World
from tests.unit.rollouts import deploy

Run = Callable[..., Result]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A host with a model whose build failed, and which waits for its next try; root types."""
    world = World(tmp_path / "host", settings=deploy())
    world.failures["mlflow-build@" + "1".zfill(32) + ".service"] = Behaviour(works=False, status_text="cannot build")
    world.select(demo=1)
    world.converge()
    (world.state / "requests").mkdir(exist_ok=True)

    def answer(_seconds: float) -> None:
        world.reconciler.one_pass()

    client = RequestClient(world.state / "requests", os.getuid(), pause=answer)
    monkeypatch.setattr(request_client, "RequestClient", lambda: client)
    read = plan_file.read_plan
    monkeypatch.setattr(plan_file, "read_plan", lambda: read(world.directory / "plan.json"))
    monkeypatch.setattr(plan_reading, "_reconciler_runs", lambda: True)
    monkeypatch.setattr(wiring, "reconciler", lambda _settings: world.new_reconciler())
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for name in [name for name in os.environ if name.startswith("MLFLOW_RECONCILER_")]:
        monkeypatch.delenv(name)
    return world


def plan(*options: str) -> Result:
    """As somebody types it."""
    return CliRunner().invoke(main.app, ["plan", *options])


def test_the_reconciler_that_runs_makes_the_plan(world: World) -> None:
    """It knows when the failed build is tried again, which is no change."""
    done = plan("--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert (document["by"], document["waits"][0]["tries"]) == ("reconciler", 1)
    assert world.systemd.calls["StartUnit"] == 0 or document["actions"] == []


def test_without_a_reconciler_the_command_plans_as_one_that_starts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so; what failed waits for it as well."""
    monkeypatch.setattr(plan_reading, "_reconciler_runs", lambda: False)
    assert world
    done = plan()
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("the reconciler was not asked; this is what it would do after a start\nwaits\n")
    assert done.stdout.endswith("nothing to do\n")


@pytest.mark.parametrize("place", ["option", "environment"])
def test_with_other_settings_the_command_plans(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """The reconciler goes by its own."""
    config = tmp_path / "config.toml"
    config.write_text("")
    assert world
    if place == "environment":
        monkeypatch.setenv("MLFLOW_RECONCILER_CONFIG", str(config))
    done = plan("--json", *(["--config", str(config)] if place == "option" else []))
    assert json.loads(done.stdout)["by"] == "command", done.output


def test_a_reconciler_that_cannot_answer_is_done_without(world: World) -> None:
    """The disk of its directory is full, or it is of another version."""
    world.reconciler.desk.plan_file = world.directory / "none" / "plan.json"
    assert json.loads(plan("--json").stdout)["by"] == "command"


def test_a_plan_with_changes_exits_with_2(world: World) -> None:
    """So a program sees it."""
    world.failures.clear()
    world.now += 60
    done = plan()
    assert done.exit_code == 2
    assert "~ mlflow-build@" in done.stdout
    assert done.stdout.splitlines()[-1] == "1 change, which the reconciler makes by itself"
