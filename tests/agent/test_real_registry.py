"""The agent before a real MLflow server: what people do in the registry, and what it hears back."""

import json
import os
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from reconciler.adapters.registry_http import RegistryServer
from reconciler.adapters.registry_mlflow import MlflowRegistry
from reconciler.core.registry.host_abilities import EXPERIMENT
from reconciler.core.registry.host_tags import REFRESHED, host_id, told_by
from reconciler.core.registry.selection import RENAME, select
from reconciler.core.state.snapshot import MAX_SNAPSHOT_BYTES, Snapshot, Source
from reconciler.files.untrusted import UnacceptableFileError, read_foreign_file
from reconciler.ports.registry import RegistryError
from tests.agent.process import AgentProcess
from tests.mlflow_server import mlflow_server, wait_until

SETTINGS = '[registry]\nuri = "{uri}"\nselectors = ["alias:champion", "stage:Production"]\npoll_interval = 1\n'
TAG = f"deployed.{socket.gethostname()}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the MLflow server keeps its database."""
    return tmp_path_factory.mktemp("mlflow")


@pytest.fixture(scope="module")
def uri(place: Path) -> Iterator[str]:
    """A real MLflow server."""
    with mlflow_server(place) as address:
        yield address


@pytest.fixture(scope="module")
def client(uri: str) -> Any:
    """MLflow's own client, as people and the UI use it."""
    import mlflow

    return mlflow.MlflowClient(uri, uri)


@pytest.fixture(scope="module")
def agent(uri: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """An agent that has found the registry empty."""
    with AgentProcess(tmp_path_factory.mktemp("agent"), SETTINGS.format(uri=uri)) as agent:
        agent.wait_for_status("read 0 models")
        yield agent


def register(client: Any, name: str, versions: int = 1) -> None:
    """Register a model with some versions of a source that nobody downloads."""
    client.create_registered_model(name)
    for number in range(1, versions + 1):
        client.create_model_version(name, f"s3://bucket/{number}")


@pytest.mark.filterwarnings("ignore:.*stages.*")
def test_what_people_do_in_the_registry_is_selected_within_a_poll(client: Any, agent: AgentProcess) -> None:
    """Promote, promote another, point an alias, demote: the snapshot follows, and the journal tells it."""
    register(client, "demo", 11)
    agent.wait_for_status("read 1 model at")
    assert agent.selected() == {}
    client.transition_model_version_stage("demo", "2", "Production")
    agent.wait_for_selection(demo=2)
    client.transition_model_version_stage("demo", "10", "Production")
    agent.wait_for_selection(demo=10)
    assert agent.snapshot().models[0].also_matching == (2,)
    assert agent.snapshot().models[0].source == "s3://bucket/10"
    client.set_registered_model_alias("demo", "champion", "11")
    agent.wait_for_selection(demo=11)
    assert agent.snapshot().models[0].selected_by == "alias:champion"
    client.set_registered_model_tag("demo", "deploy.memory_max", "1G")
    client.set_model_version_tag("demo", "11", "deploy.memory_max", "2G")
    wait_until(lambda: agent.snapshot().models[0].settings == {"memory_max": "2G"}, "the tags are settings")
    client.delete_registered_model_alias("demo", "champion")
    agent.wait_for_selection(demo=10)
    client.delete_registered_model("demo")
    agent.wait_for_selection()
    expected = [
        "version 2 of demo is now selected by stage:Production [MODEL=demo MODEL_VERSION=2]",
        "version 10 of demo is now selected by stage:Production [MODEL=demo MODEL_VERSION=10]",
        "version 11 of demo is now selected by alias:champion [MODEL=demo MODEL_VERSION=11]",
        "version 10 of demo is now selected by stage:Production [MODEL=demo MODEL_VERSION=10]",
        "demo is no longer selected [MODEL=demo MODEL_VERSION=10]",
    ]
    wait_until(lambda: len(agent.lines) == len(expected), "every change is told")
    assert [line.removeprefix("registry-agent: ") for line in agent.lines] == expected


@pytest.mark.filterwarnings("ignore:.*stages.*")
def test_names_that_mlflow_accepts_and_this_host_does_not_are_reported(client: Any, agent: AgentProcess) -> None:
    """They are in the snapshot, shown harmlessly, and the others are selected all the same."""
    for name in ("fine_1", "has space", "a\nb", "%i", "$(id)", "-dash", "x" * 65):
        register(client, name)
        client.transition_model_version_stage(name, "1", "Production")
    agent.wait_for_selection(fine_1=1)
    wait_until(lambda: len(agent.snapshot().not_deployable) == 6, "all six are reported")
    assert all(one.name.isprintable() and one.why for one in agent.snapshot().not_deployable)
    if os.geteuid() == 0:  # only a status that root has written is believed
        publish(agent)
        for name in ("a\nb", "has space"):
            told = partial(_told, client, name)
            words = wait_until(told, f"{name!r} has its tag")
            assert words.startswith("not-deployable: the name has characters other than letters")
            assert words.endswith(RENAME)
    for name in ("fine_1", "has space", "a\nb", "%i", "$(id)", "-dash", "x" * 65):
        client.delete_registered_model(name)
    agent.wait_for_selection()


def _told(client: Any, name: str) -> str:
    return told_by(client.get_model_version(name, "1").tags.get(TAG, "")).words


def damage_of_the_snapshot() -> dict[str, Callable[[Path], object]]:
    """Say what somebody with more rights may do to the agent's file."""
    return {
        "truncated": lambda path: path.write_bytes(path.read_bytes()[:20]),
        "another schema": lambda path: path.write_text(path.read_text().replace('"schema": 1', '"schema": 9')),
        "writable for others": lambda path: path.chmod(0o666),
        "a link": lambda path: (path.unlink(), path.symlink_to("/dev/zero")),
        "somebody else's": lambda path: os.chown(path, 1, -1) if os.geteuid() == 0 else path.unlink(),
        "removed": lambda path: path.unlink(),
    }


def wait_for_a_reading(agent: AgentProcess) -> None:
    """Wait until a reading that began after this call has confirmed the file: then it holds what earlier tests did."""
    # The first confirmation may be of a reading that was under way already.
    for _ in range(2):
        former = agent.registry_file.stat().st_mtime_ns
        wait_until(partial(_is_confirmed_after, agent.registry_file, former), "the file is confirmed")


def _is_confirmed_after(path: Path, former: int) -> bool:
    return path.stat().st_mtime_ns != former


@pytest.mark.parametrize("damage", list(damage_of_the_snapshot()))
def test_a_snapshot_that_somebody_else_touched_is_written_again(agent: AgentProcess, damage: str) -> None:
    """The reconciler would refuse it for ever otherwise."""
    wait_for_a_reading(agent)
    told = len(agent.lines)
    before = agent.registry_file.read_bytes()
    damage_of_the_snapshot()[damage](agent.registry_file)

    def mended() -> bool:
        try:
            content = read_foreign_file(agent.registry_file, os.getuid(), MAX_SNAPSHOT_BYTES).content
            return Snapshot.model_validate_json(content).same_selection(Snapshot.model_validate_json(before))
        except (UnacceptableFileError, ValidationError):
            return False

    wait_until(lambda: len(agent.lines) > told and mended(), "the file is as it should be")
    assert agent.lines[told:] == [f"registry-agent: somebody else changed {agent.registry_file}; it is written again"]


def publish(agent: AgentProcess, *deployments: dict[str, Any]) -> None:
    """Publish a status as the reconciler does."""
    document = {
        "schema": 1,
        "host": socket.gethostname(),
        "registry": {"reachable": True, "read_at": "2026-01-02T03:04:05Z"},
        "deployments": [{"since": "2026-01-02T03:04:05Z", **deployment} for deployment in deployments],
    }
    temporary = agent.status_file.with_suffix(".tmp")
    temporary.write_text(json.dumps(document))
    temporary.chmod(0o644)
    temporary.replace(agent.status_file)


@pytest.mark.skipif(os.geteuid() != 0, reason="only a status that root has written is believed")
def test_the_data_scientist_sees_the_result_in_the_registry(client: Any, agent: AgentProcess) -> None:
    """A tag on the version: it serves, another one took over, it failed, it is gone."""
    register(client, "told", 3)

    def tag(version: int) -> str:
        return str(client.get_model_version("told", str(version)).tags.get(TAG, ""))

    def wait_for_tag(version: int, start: str) -> str:
        return wait_until(
            lambda: tag(version) if tag(version).startswith(start) else "", f"{start!r}: {tag(version)!r}"
        )

    def select_version(version: int) -> None:
        client.set_registered_model_alias("told", "champion", str(version))
        agent.wait_for_selection(told=version)

    one = {"name": "told", "desired_version": "1", "active_version": "1", "url": "http://127.0.0.1:20001"}
    select_version(1)
    publish(agent, {**one, "state": "serving"})
    told = told_by(wait_for_tag(1, "serving"))
    assert told.words == "serving 2026-01-02T03:04:05Z http://127.0.0.1:20001 (an address of the host itself)"
    assert told.is_current(datetime.now(UTC), REFRESHED)
    assert told.host == host_id(Path("/etc/machine-id").read_bytes())
    select_version(2)
    publish(agent, {**one, "state": "rolling-out", "desired_version": "2"})
    wait_for_tag(2, "rolling-out")
    wait_for_tag(1, "serving http://127.0.0.1:20001 (an address of the host itself): version 2 is wanted and is on its")
    publish(agent, {**one, "state": "degraded", "desired_version": "2", "message": "cannot load it:\nno tiny"})
    words = told_by(wait_for_tag(2, "degraded: ")).words
    assert words == "degraded: version 1 serves; cannot load it: no tiny"
    soaking = {"desired_version": "2", "active_version": "2", "standby_version": "1"}
    publish(agent, {**one, **soaking, "state": "rolling-out", "message": "version 2 is watched"})
    wait_for_tag(1, "standby: version 2 serves")
    # What is rolled back in its soak: the version that serves again was never removed.
    publish(agent, {**one, "state": "degraded", "desired_version": "2", "message": "it crashed"})
    wait_for_tag(1, "serving ")
    select_version(3)
    publish(agent, {**one, "state": "serving", "desired_version": "3", "active_version": "3"})
    wait_for_tag(3, "serving")
    wait_for_tag(1, "removed ")
    wait_for_tag(2, "removed ")
    agent.status_file.write_text('{"schema": 1, "deployments": [')
    seen = agent.registry_file.stat().st_mtime_ns
    wait_until(lambda: agent.registry_file.stat().st_mtime_ns > seen, "a poll goes by")
    agent.status_file.unlink()
    agent.status_file.symlink_to("/dev/zero")
    seen = agent.registry_file.stat().st_mtime_ns
    wait_until(lambda: agent.registry_file.stat().st_mtime_ns > seen, "another poll goes by")
    assert tag(3).startswith("serving")
    agent.status_file.unlink()
    publish(agent)
    wait_for_tag(3, "removed ")
    client.delete_registered_model("told")
    assert not any("Traceback" in line for line in agent.lines)


@pytest.mark.skipif(os.geteuid() != 0, reason="only a status that root has written is believed")
def test_the_data_scientist_sees_what_the_host_can_do(client: Any, agent: AgentProcess, uri: str) -> None:
    """In an experiment of its own, which is made by the first host; a change of the settings is told at once."""

    def told() -> dict[str, Any]:
        experiment = client.get_experiment_by_name(EXPERIMENT)
        document = experiment.tags.get(f"host.{socket.gethostname()}", "{}") if experiment else "{}"
        return dict(json.loads(document))

    publish(agent)
    wait_until(lambda: told().get("names") == [], "the host says what it can do")
    assert told()["selectors"] == ["alias:champion", "stage:Production"]
    settings = agent.config.read_text()
    agent.config.write_text(f'{settings}[policy]\nnames = ["pauses"]\n')
    wait_until(lambda: told()["names"] == ["pauses"], "the host says what has changed")
    agent.config.write_text(settings)
    wait_until(lambda: told()["names"] == [], "the host says that it is as before")
    registry = MlflowRegistry(uri, 30)
    assert registry.experiment_tags("no such experiment") == {}
    registry.tag_experiment("made", "host.x", "1")
    registry.tag_experiment("made", "host.y", "2")
    tags = registry.experiment_tags("made")
    assert (tags["host.x"], tags["host.y"]) == ("1", "2")
    client.delete_experiment(client.get_experiment_by_name("made").experiment_id)
    with pytest.raises(RegistryError, match="the experiment made is deleted; restore it in MLflow, or delete it for"):
        registry.tag_experiment("made", "host.x", "3")


@pytest.mark.skipif(os.geteuid() != 0, reason="only a status that root has written is believed")
@pytest.mark.filterwarnings("ignore:.*stages.*")
def test_the_tag_of_a_hosts_former_name_is_taken_back(client: Any, agent: AgentProcess) -> None:
    """What nobody has kept up for hours and bears this machine's word; other hosts' tags stay."""
    register(client, "renamed")
    own = host_id(Path("/etc/machine-id").read_bytes())
    client.set_model_version_tag("renamed", "1", "deployed.former", f"serving x (seen 2026-01-02T03:04Z, host {own})")
    client.set_model_version_tag("renamed", "1", "deployed.other", "serving x (seen 2026-01-02T03:04Z, host 00000000)")
    client.transition_model_version_stage("renamed", "1", "Production")
    publish(agent, {"name": "renamed", "desired_version": "1", "active_version": "1", "state": "serving"})

    def tags() -> dict[str, str]:
        return dict(client.get_model_version("renamed", "1").tags)

    wait_until(lambda: tags()["deployed.former"].startswith("removed "), "the tag is taken back")
    assert tags()["deployed.former"].endswith(f": that host is {TAG} now")
    assert tags()["deployed.other"] == "serving x (seen 2026-01-02T03:04Z, host 00000000)"
    wait_until(lambda: tags().get(TAG, "").startswith("serving "), "its tag has its name")
    publish(agent)
    client.delete_registered_model("renamed")


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all answers that a registry in this process gets."""
    sizes: list[int] = []
    ask = RegistryServer._ask

    def counted(*arguments: Any, **more: Any) -> Any:
        answer = ask(*arguments, **more)
        sizes.append(len(answer.body))
        return answer

    monkeypatch.setattr(RegistryServer, "_ask", counted)
    return sizes


def flood(place: Path, name: str, versions: int) -> None:
    """Give a model, which has version 1, as many more as somebody's script would make in a night."""
    with closing(sqlite3.connect(place / "mlflow.db")) as database, database:
        columns = [row[1] for row in database.execute("PRAGMA table_info(model_versions)")]
        others = ", ".join(column for column in columns if column != "version")
        database.execute(
            f"WITH RECURSIVE numbers(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM numbers WHERE n < ?) "  # noqa: S608 - names of columns
            f"INSERT INTO model_versions (version, {others}) SELECT n, {others} FROM numbers, model_versions "
            "WHERE name = ? AND version = 1",
            (versions, name),
        )


@pytest.mark.filterwarnings("ignore:.*stages.*")
def test_how_much_is_read_does_not_depend_on_how_many_versions_there_are(
    uri: str, place: Path, client: Any, answers: list[int]
) -> None:
    """Of a model that nothing selects, of one that an alias selects and of one whose stage does."""
    for name in ("unselected", "aliased", "staged"):
        register(client, name)
    client.set_registered_model_alias("aliased", "champion", "1")
    client.transition_model_version_stage("staged", "1", "Production")
    registry, selectors = MlflowRegistry(uri, 60), ("alias:champion", "stage:Production")

    def read() -> tuple[dict[str, int], int, int]:
        answers.clear()
        reading = registry.read(selectors)
        chosen = select(reading, Source(registry=uri, selectors=selectors), datetime.now(UTC)).models
        assert {model.name for model in reading.models} >= {"unselected", "aliased", "staged"}
        return {model.name: model.version for model in chosen}, len(answers), sum(answers)

    before, requests, size = read()
    assert before == {"aliased": 1, "staged": 1}
    try:
        for name in ("unselected", "aliased", "staged"):
            flood(place, name, 20_000)
        client.set_registered_model_alias("aliased", "champion", "15000")
        chosen, asked, sent = read()
        assert chosen == {"aliased": 15_000, "staged": 20_000}
        # The numbers are far apart, so that one request more is shorter than one for all between them.
        assert (asked, requests) == (3, 2)
        assert sent < size + 20_000
        figures = f"60,000 versions: {asked} answers, {sent} bytes; 3 versions: {requests} answers, {size} bytes"
        print(figures)  # noqa: T201 - figures for people
    finally:
        with closing(sqlite3.connect(place / "mlflow.db")) as database, database:
            database.execute(
                "DELETE FROM model_versions WHERE version > 1 AND name IN ('unselected', 'aliased', 'staged')"
            )
        client.delete_registered_model_alias("aliased", "champion")
        for name in ("unselected", "aliased", "staged"):
            client.delete_registered_model(name)
