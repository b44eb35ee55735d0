"""Model versions and their files, as MLflow's client finds and downloads them; what may be is decided elsewhere."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.adapters.credentials import file_of, registry_login
from reconciler.adapters.mlflow_client import log_in, prepare_environment

if TYPE_CHECKING:
    from mlflow.store.artifact.artifact_repo import ArtifactRepository


_KEYS = {
    "s3": ("artifacts.aws", "AWS_SHARED_CREDENTIALS_FILE"),
    "gs": ("artifacts.gcs", "GOOGLE_APPLICATION_CREDENTIALS"),
}
"""Which credential opens which kind of store, and where its library looks for the file's name."""


@dataclass(frozen=True)
class Location:
    """Where a model version's files are."""

    source: str
    """What the version was registered from, as the registry has it."""
    address: str
    """The artifact store's own address of the files, after every detour through models and runs."""


@dataclass(frozen=True)
class Entry:
    """One artifact as the store lists it."""

    path: str
    is_directory: bool
    size: int | None
    """Bytes, where the store tells."""


class ArtifactStore:
    """The artifacts of one registry's model versions. Its methods raise whatever MLflow's client raises."""

    def __init__(self, registry: str, timeout: int, retries: int, *, plain_http: bool = False) -> None:
        """Prepare to ask `registry`; a request may be silent for `timeout` seconds and is repeated `retries` times.

        Raises CredentialError, also when credentials would go over plain HTTP and `plain_http` does not permit it.
        """
        prepare_environment(timeout, retries)
        log_in(registry, registry_login(), plain_http=plain_http)
        from mlflow import MlflowClient

        self._registry = registry
        self._client = MlflowClient(tracking_uri=registry, registry_uri=registry)

    def locate(self, name: str, version: int) -> Location:
        """Ask the registry where a version's files are."""
        source = self._client.get_model_version(name, str(version)).source or ""
        address = self._client.get_model_version_download_uri(name, str(version))
        if address.startswith("runs:"):
            from mlflow.store.artifact.runs_artifact_repo import RunsArtifactRepository

            address = RunsArtifactRepository.get_underlying_uri(address, tracking_uri=self._registry)
        elif address.startswith("models:/m-"):
            model_id, _, below = address.removeprefix("models:/").partition("/")
            address = "/".join(filter(None, (self._client.get_logged_model(model_id).artifact_location, below)))
        return Location(source, address)

    def open(self, address: str) -> "Artifacts":
        """Turn to the files at an address."""
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        return Artifacts(get_artifact_repository(address, tracking_uri=self._registry, registry_uri=self._registry))


def hand_over_keys(scheme: str) -> None:
    """Show the libraries of artifact stores the one credential that belongs to this scheme, and no other.

    Call it once the address is one that this host downloads from. Raises CredentialError.
    """
    for kind, (name, variable) in _KEYS.items():
        os.environ.pop(variable, None)
        if kind == scheme and (path := file_of(name)):
            os.environ[variable] = str(path)


class Artifacts:
    """The files of one model version."""

    def __init__(self, repository: "ArtifactRepository") -> None:
        """Wrap MLflow's repository."""
        self._repository = repository

    def entries(self, below: str | None = None) -> Iterator[Entry]:
        """List one directory, the top one by default."""
        for found in self._repository.list_artifacts(below):
            yield Entry(found.path, found.is_dir, found.file_size)

    def download(self, path: str, local: Path) -> None:
        """Download one file to `local`."""
        # The public download_artifacts() lists again and lets that second answer choose the local path.
        self._repository._download_file(path, str(local))  # type: ignore[no-untyped-call]  # MLflow gives it no types
