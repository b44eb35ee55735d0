"""Sets MLflow's client up for the fetch; importing this does not import MLflow."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.adapters.credentials import SYSTEM_AUTHORITIES, Login, check_the_way
from reconciler.core.text.urls import origin

if TYPE_CHECKING:
    from requests import PreparedRequest

AUTH = "mlflow-reconciler"
WORKSPACE = "X-MLFLOW-WORKSPACE"
_CA, _CERTIFICATE = "MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH"
# Other processes can see the environment, so no credentials are taken from there. Certificates are always checked, and
# the workspace is a setting.
_NOT_FROM_THE_ENVIRONMENT = (
    *("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"),
    *("MLFLOW_TRACKING_INSECURE_TLS", "MLFLOW_S3_IGNORE_TLS", _CA, _CERTIFICATE),
    "MLFLOW_WORKSPACE",
)

Sign = Callable[["PreparedRequest"], "PreparedRequest"]
"""Completes a request before it is sent."""
_signs: dict[str, Sign] = {}


def prepare_environment(timeout: int, retries: int) -> None:
    """Set what MLflow's client reads from the environment: time-out of a request in seconds, retries, no surprises.

    Call it before MLflow is imported. Its defaults wait 20 minutes for a server that hangs.
    """
    os.environ.update(
        MLFLOW_DISABLE_TELEMETRY="true",
        MLFLOW_HTTP_REQUEST_TIMEOUT=str(timeout),
        MLFLOW_HTTP_REQUEST_MAX_RETRIES=str(retries),
        MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR="1",
        MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false",
        MLFLOW_LOGGING_LEVEL="ERROR",
        # A redirected registry is a wrong address, and credentials should not travel with it.
        MLFLOW_ALLOW_HTTP_REDIRECTS="false",
        # Files come from the server itself, unless it says that it hands out addresses only (see ArtifactStore).
        MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD="false",
        # Services of cloud machines that hand out credentials to whoever asks.
        AWS_EC2_METADATA_DISABLED="true",
        NO_GCE_CHECK="true",
    )
    for variable in _NOT_FROM_THE_ENVIRONMENT:
        os.environ.pop(variable, None)
    if Path(SYSTEM_AUTHORITIES).exists():  # the host's own, and not those that a Python package brings
        os.environ.setdefault("REQUESTS_CA_BUNDLE", SYSTEM_AUTHORITIES)


def log_in(registry: str, login: Login, *, plain_http: bool = False, workspace: str = "") -> None:
    """Make MLflow's client send `login` to the registry and to no other server.

    `workspace` is named in each request, where the registry has several; "" means its default one. Raises
    CredentialError when others could read a secret on its way to the registry and `plain_http` does not permit that.
    """
    check_the_way(registry, login, plain_http=plain_http)
    from mlflow.tracking.request_auth import registry as providers
    from mlflow.tracking.request_auth.abstract_request_auth_provider import RequestAuthProvider

    class Provider(RequestAuthProvider):
        def get_name(self) -> str:
            return AUTH

        def get_auth(self) -> Sign:
            return _signs[AUTH]

    own = origin(registry)

    def sign(request: "PreparedRequest") -> "PreparedRequest":
        # Here and not in the environment, which goes to every host that MLflow is sent to and to every child process.
        if origin(request.url or "") == own:
            if login.authorization:
                request.headers["Authorization"] = login.authorization
            if workspace:
                request.headers[WORKSPACE] = workspace
        return request

    _signs[AUTH] = sign
    if AUTH not in {provider.get_name() for provider in providers._request_auth_provider_registry}:
        providers._request_auth_provider_registry.register(Provider)  # type: ignore[no-untyped-call]  # MLflow gives it no types
    os.environ["MLFLOW_TRACKING_AUTH"] = AUTH
    for variable, path in ((_CA, login.ca), (_CERTIFICATE, login.certificate)):
        os.environ.pop(variable, None)
        if path is not None:
            os.environ[variable] = str(path)


def log_out() -> None:
    """Send nothing of the registry's login any more, and do not trust its authority, for requests to other servers."""
    _signs[AUTH] = lambda request: request
    for variable in (_CA, _CERTIFICATE):
        os.environ.pop(variable, None)
