"""What one reading of a real MLflow server brings and costs, compared with MLflow's own client."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest

from reconciler.adapters import registry_mlflow
from reconciler.adapters.registry_mlflow import MlflowRegistry
from reconciler.core.registry.reading import Model, Version
from tests.agent.front import Front
from tests.agent.many_models import IN_PRODUCTION, fill
from tests.mlflow_server import mlflow_server

pytestmark = pytest.mark.filterwarnings("ignore:.*stages.*")
SELECTORS = ("alias:champion", "stage:Production")
ODD_TEXTS = (
    "plain",
    "",
    "quotes \" and ' and \\ and `",
    "lines\nof\r\nmany\tkinds\x0b\u2028",
    "größe 測定 🩺 \u202e",
    "<b>&amp;</b> %20 %s {}",
    "\x00\x1b[31m",
)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A registry with odd names, tags and descriptions."""
    from mlflow import MlflowClient

    with mlflow_server(tmp_path_factory.mktemp("odd")) as uri:
        client: Any = MlflowClient(uri, uri)
        for number, text in enumerate(ODD_TEXTS):
            name = f"{number} {text}".replace("/", "").replace(":", "")
            client.create_registered_model(name, tags={"said": text, "größe.x y": text}, description=text)
            for version in range(1, 4):
                client.create_model_version(name, f"s3://bucket/{version} größe", tags={"said": text})
            client.transition_model_version_stage(name, "2", "Production")
            client.transition_model_version_stage(name, "3", "Archived")
            client.set_registered_model_alias(name, "champion", "1")
            client.set_registered_model_alias(name, "b-c_d", "3")
        client.create_registered_model("without versions")
        client.register_prompt("a-prompt", "say {{what}}")
        client.create_registered_model("whose version is gone")
        client.create_model_version("whose version is gone", "s3://bucket/x")
        client.delete_model_version("whose version is gone", "1")
        yield uri


def version_of(one: Any) -> Version:
    """What MLflow's client says of a version."""
    registered_at, changed_at = (
        datetime.fromtimestamp(moment / 1000, UTC) for moment in (one.creation_timestamp, one.last_updated_timestamp)
    )
    number, tags = int(one.version), dict(one.tags)
    told = one.user_id or "", registered_at, changed_at
    return Version(one.name, number, one.current_stage, one.status, one.source, tags, *told)


def by_mlflows_client(uri: str, a_page: int) -> tuple[list[Model], list[Version]]:
    """Read all models and their latest versions as MLflow's own client does."""
    from mlflow import MlflowClient

    client: Any = MlflowClient(uri, uri)
    models: list[Model] = []
    versions: list[Version] = []
    token = None
    while True:
        page = client.search_registered_models(max_results=a_page, page_token=token)
        for found in page:
            latest = [int(one.version) for one in found.latest_versions]
            aliases = {alias: int(version) for alias, version in found.aliases.items()}
            models.append(Model(found.name, dict(found.tags), aliases, tuple(latest)))
            versions += map(version_of, found.latest_versions)
        token = page.token
        if not token:
            return models, versions


@pytest.mark.parametrize("a_page", [1000, 2])
def test_it_reads_what_mlflows_own_client_reads(odd: str, a_page: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names of any letters, tags with quotes and line breaks, aliases, nothing at all, on one page and on many."""
    monkeypatch.setattr(registry_mlflow, "MODELS_A_PAGE", a_page)
    reading = MlflowRegistry(odd, 60).read()
    models, versions = by_mlflows_client(odd, a_page)
    assert list(reading.models) == models
    assert list(reading.versions) == versions
    names = {model.name for model in models}
    assert len(names) == len(ODD_TEXTS) + 2
    assert "a-prompt" not in names


def test_a_tag_that_it_sets_is_what_mlflows_own_client_reads(odd: str) -> None:
    """Any text, on a model of any name."""
    from mlflow import MlflowClient

    client: Any = MlflowClient(odd, odd)
    registry = MlflowRegistry(odd, 60)
    name = next(model.name for model in registry.read().models if "🩺" in model.name)
    for text in ODD_TEXTS:
        registry.report(name, 1, "deployed.here", text)
        assert client.get_model_version(name, "1").tags["deployed.here"] == text
        (found,) = registry.tagged_versions("deployed.here")
        assert (found.name, found.version, found.tags["deployed.here"]) == (name, 1, text)


def test_the_time_of_the_last_change_does_not_tell_what_has_changed(odd: str) -> None:
    """So it cannot stand in for a reading: a promotion by alias would go unnoticed."""
    from mlflow import MlflowClient

    client: Any = MlflowClient(odd, odd)

    def newest() -> list[int]:
        searches = (client.search_registered_models, client.search_model_versions)
        found = [search(max_results=1, order_by=["last_updated_timestamp DESC"]) for search in searches]
        return [page[0].last_updated_timestamp for page in found]

    name = "0 plain"
    before = newest()
    client.set_registered_model_alias(name, "champion", "2")
    client.set_registered_model_tag(name, "deploy.memory_max", "1G")
    client.set_model_version_tag(name, "2", "deploy.memory_max", "1G")
    client.delete_registered_model("without versions")
    assert newest() == before
    client.transition_model_version_stage(name, "1", "Production")
    assert newest() != before


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, str]]:
    """Registries by their number of models."""
    from mlflow import MlflowClient

    with ExitStack() as stack:
        uris = {}
        for models in (10, 1000):
            place = tmp_path_factory.mktemp(f"with{models}")
            uris[models] = stack.enter_context(mlflow_server(place))
            fill(MlflowClient(uris[models], uris[models]), place, models)
        yield uris


@pytest.mark.parametrize("models", [10, 1000])
def test_a_poll_is_two_requests_however_many_models_there_are(many: dict[int, str], models: int) -> None:
    """The list of models, and what else is in Production. Listing each model would be one request more for each."""
    with Front(many[models]) as front:
        registry = MlflowRegistry(front.uri, 60)
        for _ in range(3):
            front.seen.clear()
            reading = registry.read(SELECTORS)
            assert [one.path.partition("?")[0] for one in front.seen] == [
                registry_mlflow.MODELS,
                registry_mlflow.VERSIONS,
            ]
        assert len(reading.models) == models
        assert sum(version.stage == "Production" for version in reading.versions) == min(models, IN_PRODUCTION)
        # MLflow itself says everything each time: less than a KiB for each model, which has two versions.
        assert front.bytes_sent() < 1024 * models + 20_000


@pytest.mark.parametrize("models", [10, 1000])
def test_an_unchanged_registry_behind_a_cache_with_names_sends_nothing_again(many: dict[int, str], models: int) -> None:
    """Two conditional requests without a body; the first poll after a change brings what has changed."""
    from mlflow import MlflowClient

    client: Any = MlflowClient(many[models], many[models])
    with Front(many[models], names=True, packs=True) as front:
        registry = MlflowRegistry(front.uri, 60)
        first = registry.read(SELECTORS)
        assert front.bytes_sent() < 40 * models + 10_000
        front.seen.clear()
        assert registry.read(SELECTORS) == first
        assert [(one.status, one.sent) for one in front.seen] == [(304, 0), (304, 0)]
        changes: tuple[Callable[[], object], ...] = (
            lambda: client.set_registered_model_alias("m0003", "champion", "1"),
            lambda: client.set_model_version_tag("m0003", "2", "deploy.memory_max", "1G"),
            lambda: client.transition_model_version_stage("m0004", "1", "Production"),
            lambda: client.delete_model_version("m0005", "2"),
            lambda: client.delete_registered_model_alias("m0003", "champion"),
        )
        for change in changes:
            before = registry.read(SELECTORS)
            change()
            after = registry.read(SELECTORS)
            assert after != before
            assert after == MlflowRegistry(many[models], 60).read(SELECTORS)
