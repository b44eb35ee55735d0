"""A server with workspaces: what is registered in one is found, fetched and shown there, and nowhere else."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from mlflow import MlflowClient

from reconciler.steps import manifest as manifests
from tests.agent.process import AgentProcess
from tests.mlflow_server import PATIENCE, mlflow_server
from tests.pipeline.conftest import Account
from tests.pipeline.test_pipeline import LIGHT, PAUSES
from tests.steps.step import ROOT, command, environment

SETTINGS = '[registry]\nuri = "{uri}"\nworkspace = "{workspace}"\npoll_interval = 1\nreport = false\n'
WARD = {"X-MLFLOW-WORKSPACE": "ward"}


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server with workspaces, one of them `ward`."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow"), None, "--enable-workspaces") as address:
        MlflowClient(address, address).create_workspace("ward")
        yield address


def fetch(uri: str, state: Path, source: str, *more: str) -> "subprocess.CompletedProcess[str]":
    """Fetch version 1 of `cough` as the unit does."""
    options = ("--name", "cough", "--version", "1", "--source", source, "--schemes", "mlflow-artifacts", *more)
    return subprocess.run(
        command("fetch", *options),
        cwd=ROOT,
        env=environment(state, MLFLOW_TRACKING_URI=uri, MLFLOW_WORKSPACE="default"),
        stdout=subprocess.PIPE,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )


def test_what_is_registered_in_a_workspace_is_selected_and_fetched_there(
    uri: str, scientist: Account, tmp_path: Path
) -> None:
    """By the script, the agent and the fetch step, each of which is told which one it is; and nowhere else."""
    arguments = ("--name", "cough", "--model", PAUSES, *LIGHT, "--workspace", "ward")
    result = scientist.run(*arguments, MLFLOW_TRACKING_URI=uri, MLFLOW_WORKSPACE="default")
    assert result.code == 0, result.err
    assert f"{uri}/#/models/cough/versions/1?workspace=ward" in result.out
    assert "Only hosts that follow the workspace ward see it (registry.workspace)." in result.out
    moved = {"name": "cough", "version": "1", "stage": "Production"}
    place = f"{uri}/api/2.0/mlflow/model-versions/transition-stage"
    assert requests.post(place, json=moved, headers=WARD, timeout=PATIENCE).ok
    assert requests.post(place, json=moved, timeout=PATIENCE).status_code == 404

    with AgentProcess(tmp_path / "agent", SETTINGS.format(uri=uri, workspace="nowhere")) as agent:

        def follow(workspace: str) -> None:
            agent.config.write_text(SETTINGS.format(uri=uri, workspace=workspace))
            agent.process.send_signal(signal.SIGHUP)

        agent.wait_for_status("Workspace 'nowhere' not found")
        assert not agent.registry_file.exists(), "what does not exist is not empty"
        follow("ward")
        agent.wait_for_selection(cough=1)
        source = agent.snapshot().models[0].source
        follow("")
        agent.wait_for_status(f"read 0 models at {uri}")

    done = fetch(uri, tmp_path / "release", source, "--workspace", "ward")
    assert done.returncode == 0, done.stdout
    assert "artifacts/replay/request.json" in manifests.read(tmp_path / "release").files
    lost = fetch(uri, tmp_path / "lost", source)
    assert lost.returncode == 1
    assert "not found" in lost.stdout


@pytest.mark.parametrize(
    ("workspace", "why"),
    [
        ("nowhere", "it has no workspace nowhere; check --workspace or MLFLOW_WORKSPACE"),
        ("No/Such", "names of workspaces have small letters, digits and -; check --workspace or MLFLOW_WORKSPACE"),
    ],
)
def test_a_workspace_that_is_none_is_refused_before_anything_is_sent(
    uri: str, scientist: Account, workspace: str, why: str
) -> None:
    """It is not taken for a free name in the server's own."""
    arguments = ("--name", "free", "--model", PAUSES, *LIGHT)
    result = scientist.run(*arguments, MLFLOW_TRACKING_URI=uri, MLFLOW_WORKSPACE=workspace)
    assert result.code != 0
    assert why in result.err
    assert MlflowClient(uri, uri).search_registered_models("name='free'") == []


def test_a_server_without_workspaces_says_so(scientist: Account, tmp_path: Path) -> None:
    """In a sentence, to the data scientist and to the host; what it would show instead is not read."""
    arguments = ("--name", "free", "--model", PAUSES, *LIGHT, "--workspace", "ward")
    result = scientist.run(*arguments)
    assert result.code != 0
    assert "it has no workspaces; leave out --workspace and MLFLOW_WORKSPACE (ward)" in result.err
    with AgentProcess(tmp_path / "ward", SETTINGS.format(uri=scientist.registry, workspace="ward")) as agent:
        agent.wait_for_status("it has no workspaces; leave registry.workspace empty, or have it started with")
        assert not agent.registry_file.exists()
