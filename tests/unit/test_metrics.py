"""The reconciler's metrics: what they tell, that a scraper can read them, and what writing them costs."""

import os
import re
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import yaml
from structlog.testing import capture_logs

from reconciler.core.state.metrics import HELP, Measured, exposition
from reconciler.core.state.status import DeploymentStatus, RegistryStatus, State, Status
from reconciler.core.units import names
from reconciler.daemon import metrics
from reconciler.files.metrics_file import write_metrics
from reconciler.settings.model import MetricsSettings
from tests.fakes.systemd import Behaviour
from tests.prometheus import Sample, parse
from tests.unit.conftest import CHECKOUT, World
from tests.unit.rollouts import BROKEN, deploy, rolled_out

PROMTOOL = shutil.which("promtool")
ALERTS = CHECKOUT / "docs" / "monitoring" / "reconciler-alerts.yml"
PREFIX = "mlflow_reconciler_"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where node_exporter looks."""
    directory = tmp_path / "node-exporter"
    directory.mkdir(mode=0o755)
    return directory / "mlflow_reconciler.prom"


@pytest.fixture
def world(tmp_path: Path, path: Path) -> World:
    """A host with metrics."""
    settings = deploy().model_copy(update={"metrics": MetricsSettings(textfile=str(path))})
    return World(tmp_path / "host", settings=settings)


def measured(path: Path) -> list[Sample]:
    """What a scraper reads."""
    return parse(path.read_text())


def value(path: Path, metric: str, **labels: str) -> float | None:
    """The value of one sample; None where there is none."""
    found = [one.value for one in measured(path) if one.metric == PREFIX + metric and one.labels == labels]
    return found[0] if found else None


def test_the_metrics_tell_where_each_deployment_stands(world: World, path: Path) -> None:
    """Wanted and active versions, the state, since when, and how fresh the registry is."""
    rolled_out(world, 1)
    world.select(demo=2)
    world.converge()
    assert value(path, "deployment_wanted_version", deployment="demo") == 2
    assert value(path, "deployment_active_version", deployment="demo") == 2
    assert value(path, "deployment_state", deployment="demo", state="rolling-out", reason="soaking") == 1
    assert value(path, "deployments", state="rolling-out") == 1
    assert value(path, "deployments", state="serving") == 0
    assert value(path, "last_pass_timestamp_seconds") == world.now
    assert value(path, "trouble") == 0
    assert value(path, "deployment_since_timestamp_seconds", deployment="demo") == world.now
    world.now += metrics.AT_MOST_EVERY
    world.reconciler.one_pass()
    assert value(path, "actions_total") == world.reconciler.runner.done > 10


@pytest.mark.parametrize("part", ["fetch", "build", "verify", "start"])
def test_what_fails_is_counted_until_it_works(world: World, path: Path, part: str) -> None:
    """A build is shared by deployments, and counts for each that needs it."""
    unit = {
        "fetch": names.fetch_unit("demo", 1),
        "build": names.build_unit(world.environment("demo", 1)),
        "verify": names.verify_unit("demo", 1),
    }.get(part)
    if unit is None:
        rolled_out(world, 1)
        unit = next(one for one in world.systemd.units() if names.parse_server(one))
        world.systemd.stop(unit)
    world.failures[unit] = BROKEN
    world.select(demo=1)
    world.converge()
    assert value(path, "deployment_failures", deployment="demo", part=part) == 1
    world.now += 1000
    world.converge()
    assert value(path, "deployment_failures", deployment="demo", part=part) == 2
    del world.failures[unit]
    world.now += 1000
    world.converge()
    world.now += 1000
    world.converge()
    assert value(path, "deployment_failures", deployment="demo", part=part) is None
    assert value(path, "deployments", state="serving") == 1


def test_restarts_of_servers_are_counted(world: World, path: Path) -> None:
    """As systemd counts them."""
    rolled_out(world, 1)
    unit = next(one for one in world.systemd.units() if names.parse_server(one))
    before = dict(world.systemd.units())
    again = {**before, unit: replace(before[unit], restarts=3)}
    world.now += 100
    with mock.patch.object(world.systemd, "units", return_value=again):
        world.reconciler.one_pass()
    assert value(path, "deployment_restarts_total", deployment="demo") == 3


def test_names_that_anybody_may_choose_break_nothing(world: World, path: Path) -> None:
    """A registry may have any name, and two that are shown alike; and as many as somebody likes."""
    odd = 'a"b\\c\nd'
    wrong = [{"name": odd, "why": "x"}, {"name": odd, "why": "y"}]
    document = {"schema": 1, "registry": "r", "read_at": "2026-01-01T00:00:00Z", "models": [], "not_deployable": wrong}
    world.write_snapshot(document)
    world.converge()
    assert value(path, "deployments", state="not-deployable") == 1
    assert not [one for one in measured(path) if "deployment" in one.labels]


def test_any_text_is_a_label() -> None:
    """By the rules of the format."""
    status = Status(
        schema=1,
        host="h",
        registry=RegistryStatus(reachable=True, read_at=None),
        deployments=(DeploymentStatus(name='a"b\\c\nd', state=State.SERVING, since=datetime.now(UTC)),),
    )
    assert r'deployment="a\"b\\c\nd"' in exposition(status, Measured(0.0, 0.0))


def test_a_pass_that_changes_nothing_writes_nothing_for_a_while(world: World, path: Path) -> None:
    """Then it does, or nobody would know that passes go on; a change is written at once."""
    rolled_out(world, 1)
    with mock.patch("reconciler.daemon.metrics.write_metrics", wraps=write_metrics) as write:
        world.reconciler.one_pass()
        world.now += metrics.AT_MOST_EVERY - 1
        world.reconciler.one_pass()
        assert write.call_count == 0
        world.now += 1
        world.reconciler.one_pass()
        assert write.call_count == 1
        world.select()
        world.reconciler.one_pass()
        assert write.call_count == 2
    assert value(path, "deployments", state="removing") == 1


def test_without_the_setting_nothing_is_written_and_the_old_file_goes(world: World, path: Path) -> None:
    """A file that nobody writes any more would say for ever what it said last."""
    rolled_out(world, 1)
    assert path.exists()
    world.reconciler.settings = deploy()
    world.reconciler.one_pass()
    assert not path.exists()
    assert not list(path.parent.iterdir())


@pytest.mark.parametrize("harm", ["missing", "open to others", "a link"])
def test_a_directory_that_cannot_be_used_is_told_once_and_ends_no_pass(
    world: World, path: Path, harm: str, tmp_path: Path
) -> None:
    """Another user's directory could lead anywhere."""
    if harm == "open to others":
        path.parent.chmod(0o777)
    else:
        path.parent.rmdir()
    if harm == "a link":
        path.parent.symlink_to(tmp_path)
    with capture_logs() as said:
        rolled_out(world, 1)
        world.now += 100
        world.reconciler.one_pass()
    told = [line["event"] for line in said if "metrics" in line["event"]]
    assert len(told) == 1
    assert told[0].startswith(f"cannot write the metrics to {path}: ")
    assert world.status()["demo"].state is State.SERVING


def test_an_interrupted_write_is_no_obstacle(world: World, path: Path) -> None:
    """And what is there is readable to node_exporter, whatever the umask."""
    path.with_name(".mlflow_reconciler.prom.new").write_text("half")
    rolled_out(world, 1)
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    assert path.stat().st_mode & 0o777 == 0o644


def test_all_metrics_are_written_and_no_others(world: World, path: Path) -> None:
    """The page for monitoring lists them, too."""
    world.failures[names.fetch_unit("more", 1)] = Behaviour(works=False)
    rolled_out(world, 1)
    world.select(demo=1, more=1)
    os.utime(world.directory / "registry.json", (world.now, world.now))
    world.converge()
    written = {one.metric.removeprefix(PREFIX) for one in measured(path)}
    assert written == HELP.keys()
    page = (CHECKOUT / "docs" / "monitoring.md").read_text()
    assert set(re.findall(rf"^\| `{PREFIX}(\w+)", page, re.MULTILINE)) == HELP.keys()


def alert_rules() -> list[dict[str, Any]]:
    """Those that are shipped."""
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def test_the_page_lists_exactly_the_alerts_that_there_are() -> None:
    """In their order; a renamed one is renamed there, too."""
    page = (CHECKOUT / "docs" / "monitoring.md").read_text().partition("\n## The reconciler\n")[2]
    assert re.findall(r"^\| `(Reconciler\w+)` \|", page, re.MULTILINE) == [rule["alert"] for rule in alert_rules()]


def test_alerts_ask_for_metrics_that_are_written() -> None:
    """And each says what to do."""
    rules = alert_rules()
    asked = {name for rule in rules for name in re.findall(rf"{PREFIX}(\w+)", rule["expr"])}
    assert asked
    assert asked <= HELP.keys()
    states = {state for rule in rules for state in re.findall(r'state=~?"([^"]*)"', rule["expr"])}
    assert {one for state in states for one in state.split("|")} <= {state.value for state in State}
    for rule in rules:
        assert {"summary", "description"} <= rule["annotations"].keys(), rule


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")
def test_promtool_agrees(world: World, path: Path) -> None:
    """Prometheus' own check of metrics and of rules."""
    rolled_out(world, 1)
    assert PROMTOOL is not None
    with path.open() as text:
        done = subprocess.run([PROMTOOL, "check", "metrics"], stdin=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    subprocess.run([PROMTOOL, "check", "rules", str(ALERTS)], check=True)
