"""The cache that docs/fleet has: a real nginx, between the agent's reader and a real MLflow server."""

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from reconciler.adapters.registry_mlflow import MODELS, VERSIONS, MlflowRegistry
from tests.agent.front import Front
from tests.balancers import cache, missing
from tests.mlflow_server import mlflow_server

pytestmark = pytest.mark.skipif(bool(missing("nginx")), reason="needs Debian's package nginx")

SELECTORS = ("alias:champion", "stage:Production")


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server with one model, which has an alias: its version has to be asked for."""
    from mlflow import MlflowClient

    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as address:
        client = MlflowClient(address, address)
        client.create_registered_model("pauses")
        for _ in range(2):
            client.create_model_version("pauses", "s3://models/pauses")
        client.set_registered_model_alias("pauses", "champion", "1")
        yield address


@pytest.fixture
def behind(uri: str, tmp_path: Path) -> Iterator[tuple[Front, str]]:
    """What counts the requests that the server gets, and the address of a cache that knows nothing yet."""
    with Front(uri) as front, cache(front.uri, tmp_path / "nginx", valid="10m") as address:
        front.seen.clear()
        yield front, address


def asked(front: Front, path: str = MODELS) -> int:
    """How often the server was asked."""
    return sum(one.path.startswith(path) for one in front.seen)


def test_hosts_that_ask_the_same_are_one_question(behind: tuple[Front, str]) -> None:
    """And all of them read what is there."""
    front, address = behind
    readings = [MlflowRegistry(address, 30).read(SELECTORS) for _ in range(10)]
    assert [[model.name for model in reading.models] for reading in readings] == [["pauses"]] * 10
    assert asked(front) == asked(front, VERSIONS) == 1


def test_hosts_that_ask_in_the_same_moment_are_one_question(behind: tuple[Front, str]) -> None:
    """The others wait for the answer to the first."""
    front, address = behind
    statuses: list[int] = []

    def ask() -> None:
        statuses.append(httpx.get(f"{address}{MODELS}?max_results=100", timeout=30, trust_env=False).status_code)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 20
    assert asked(front) == 1


@pytest.mark.parametrize("header", ["Authorization", "X-MLFLOW-WORKSPACE"])
def test_nobody_gets_an_answer_that_was_made_for_another(behind: tuple[Front, str], header: str) -> None:
    """Each login and each workspace has answers of its own."""
    front, address = behind
    for value in ("one", "other", "one"):
        answer = httpx.get(f"{address}{MODELS}?max_results=100", headers={header: value}, trust_env=False)
        assert answer.status_code == 200
    assert [one.headers[header] for one in front.seen] == ["one", "other"]


def test_a_second_reading_that_must_be_new_is(behind: tuple[Front, str]) -> None:
    """The agent asks so when it compares two readings. A cookie may be a login, and is not asked for from here."""
    front, address = behind
    for headers in ({}, {"Cache-Control": "no-cache"}, {"Cookie": "session=ada"}, {}):
        httpx.get(f"{address}{MODELS}?max_results=100", headers=headers, trust_env=False).raise_for_status()
    assert asked(front) == 3


def test_what_writes_passes_through(uri: str, behind: tuple[Front, str]) -> None:
    """A tag that is set twice is set twice."""
    front, address = behind
    reader = MlflowRegistry(address, 30)
    for value in ("1", "2"):
        reader.report("pauses", 1, "deployed.ward", value)
    assert asked(front, "/api/2.0/mlflow/model-versions/set-tag") == 2
    [version] = MlflowRegistry(uri, 30).tagged_versions("deployed.ward")
    assert version.tags["deployed.ward"] == "2"
