"""A registry below a path of its server, as behind a proxy that has other pages, too: nobody leaves the path out."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from tests.agent.process import AgentProcess
from tests.mlflow_server import mlflow_server, wait_until
from tests.pipeline.conftest import Account
from tests.pipeline.test_pipeline import LIGHT, PAUSES
from tests.pipeline.test_workspaces import fetch
from tests.unit.test_report import deployment, status_of

SETTINGS = '[registry]\nuri = "{uri}"\npoll_interval = 1\n'


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server with nothing outside of /mlflow."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow"), None, "--static-prefix", "/mlflow") as address:
        assert address.endswith("/mlflow")
        yield address


@pytest.mark.filterwarnings("ignore:.*stages.*")
def test_a_model_is_registered_selected_told_of_and_fetched_there(uri: str, scientist: Account, tmp_path: Path) -> None:
    """By the script, the agent with its tags, and the fetch step, each of which has the address with its path."""
    result = scientist.run("--name", "cough", "--model", PAUSES, *LIGHT, MLFLOW_TRACKING_URI=uri)
    assert result.code == 0, result.err
    assert f"{uri}/#/models/cough/versions/1" in result.out
    client = MlflowClient(uri, uri)
    client.transition_model_version_stage("cough", "1", "Production")
    with AgentProcess(tmp_path / "agent", SETTINGS.format(uri=uri)) as agent:
        agent.wait_for_selection(cough=1)
        source = agent.snapshot().models[0].source
        told = status_of(deployment(name="cough"))
        agent.status_file.write_text(told.model_dump_json(by_alias=True))
        wait_until(
            lambda: client.get_model_version("cough", "1").tags.get("deployed.host", "").startswith("serving "),
            "the registry says how the model fares",
        )
    done = fetch(uri, tmp_path / "release", source)
    assert done.returncode == 0, done.stdout
    assert "; example=logged; " in done.stdout
