"""Finds and downloads the files of model versions, with MLflow's client except from buckets.

Its callers decide what is allowed.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from reconciler.adapters.credentials import authorities, file_of, registry_login
from reconciler.adapters.egress import is_held
from reconciler.adapters.mlflow_client import log_in, prepare_environment
from reconciler.adapters.s3 import BucketServer, S3Artifacts
from reconciler.ports.artifacts import Artifacts, Entry

if TYPE_CHECKING:
    from mlflow.store.artifact.artifact_repo import ArtifactRepository


_NO_BUCKETS = BucketServer()
_KEYS = {"gs": ("artifacts.gcs", "GOOGLE_APPLICATION_CREDENTIALS")}
"""By kind of store, its credential, and the variable in which its library looks for the file's path."""


@dataclass(frozen=True)
class Location:
    """Where a model version's files are."""

    source: str
    """What the version was registered from, as the registry has it."""
    address: str
    """The artifact store's own address of the files, after every detour through models and runs."""


class ArtifactStore:
    """The artifacts of one registry's model versions. Its methods raise whatever MLflow's client raises."""

    def __init__(
        self,
        registry: str,
        timeout: int,
        retries: int,
        *,
        plain_http: bool = False,
        workspace: str = "",
        buckets: BucketServer = _NO_BUCKETS,
    ) -> None:
        """Prepare to ask `registry`; a request may be silent for `timeout` seconds and is repeated `retries` times.

        `workspace` is the one that is meant, where the server has several; `buckets` is the server for `s3://`.
        Raises CredentialError, also when credentials would go over plain HTTP and `plain_http` does not permit it.
        """
        prepare_environment(timeout, retries)
        log_in(registry, registry_login(), plain_http=plain_http, workspace=workspace)
        from mlflow import MlflowClient

        self._registry = registry
        self._timeout = timeout
        self._retries = retries
        self._buckets = buckets
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

    def open(self, address: str) -> Artifacts:
        """Return the files at an address, without a request for any of them."""
        scheme = urlsplit(address).scheme
        if scheme == "s3":
            return S3Artifacts(address, self._buckets, self._timeout, self._retries)
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        repository = get_artifact_repository(address, tracking_uri=self._registry, registry_uri=self._registry)
        if scheme == "mlflow-artifacts" and self._gives_addresses_only(address):
            return PresignedArtifacts(repository, self._timeout, self._retries)
        return MlflowArtifacts(repository)

    def _gives_addresses_only(self, address: str) -> bool:
        """Whether an artifact server serves no files itself, but only addresses of them."""
        from mlflow.utils.credentials import get_default_host_creds
        from mlflow.utils.server_info import ServerInfoRequestError, fetch_server_info

        own = urlsplit(self._registry)
        server = own._replace(netloc=urlsplit(address).netloc or own.netloc).geturl().rstrip("/")
        try:
            info = fetch_server_info(get_default_host_creds(server))  # type: ignore[no-untyped-call]  # MLflow gives it no types
        except ServerInfoRequestError:
            return False  # a server that does not say so; if something is wrong with it, the listing fails
        return (info.data or {}).get("artifacts_presigned_only") is True


def hand_over_keys(scheme: str) -> None:
    """Give the libraries of artifact stores the one credential that belongs to this scheme, and no other.

    Call it only after the address was found to be one that this host downloads from. Raises CredentialError.
    """
    for kind, (name, variable) in _KEYS.items():
        os.environ.pop(variable, None)
        path = file_of(name) if kind == scheme else None
        if path is not None:
            os.environ[variable] = str(path)


def trust_stores() -> None:
    """Trust the authority in `artifacts.ca`, if it is given, in place of the host's own ones.

    Call it only where nothing is asked of the registry any more. Raises CredentialError.
    """
    trusted = authorities("artifacts.ca")
    if trusted is not None:
        os.environ["REQUESTS_CA_BUNDLE"] = str(trusted)


class MlflowArtifacts:
    """The files of one model version, as MLflow's client reaches them."""

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


class PresignedArtifacts(MlflowArtifacts):
    """The files of one model version, each at an address that the artifact server gives on demand.

    MLflow's own way writes whatever comes, an error page too, into a file of the size that was announced.
    """

    def __init__(self, repository: "ArtifactRepository", timeout: int, retries: int) -> None:
        """Wrap MLflow's repository; a server may be silent for `timeout` seconds and is tried `retries` times again."""
        super().__init__(repository)
        self._timeout, self._retries = timeout, retries

    def download(self, path: str, local: Path) -> None:
        """Download one file to `local`, without showing anybody a credential of this host's.

        Raises RuntimeError where the process is not held to its servers: the address may be anybody's.
        """
        if not is_held():
            raise RuntimeError("cannot follow an address that the artifact server gives: this process is not held")
        import requests
        from requests.adapters import HTTPAdapter

        trusted = authorities("artifacts.ca")
        given = self._repository._get_presigned_download_url(path)  # type: ignore[attr-defined]  # MLflow's http ones have it
        with requests.Session() as session:
            session.trust_env = False  # neither a proxy's address nor a password from a file
            for scheme in ("http://", "https://"):
                session.mount(scheme, HTTPAdapter(max_retries=self._retries))
            with session.get(
                given.url,
                headers=given.headers,
                stream=True,
                timeout=self._timeout,
                allow_redirects=False,  # an address is good for one server only
                verify=str(trusted) if trusted else os.environ.get("REQUESTS_CA_BUNDLE", True),
            ) as answer:
                if answer.status_code != requests.codes.ok:
                    raise requests.HTTPError(f"failed with error code {answer.status_code}")
                with local.open("wb") as file:
                    for chunk in answer.iter_content(1024 * 1024):
                        file.write(chunk)
        size = local.stat().st_size
        if given.file_size not in (None, size):
            raise requests.ConnectionError(f"Connection broken: {size} bytes of {given.file_size}")
