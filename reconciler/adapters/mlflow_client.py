"""Sets MLflow's client up, and describes its failures in plain words; importing this does not import MLflow."""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from reconciler.adapters.credentials import CredentialError, Login
from reconciler.core.text.quote import one_line
from reconciler.core.text.urls import is_readable_on_the_way, origin

if TYPE_CHECKING:
    from requests import PreparedRequest

AUTH = "mlflow-reconciler"
WORKSPACE = "X-MLFLOW-WORKSPACE"
SYSTEM_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
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


def log_in(
    registry: str, login: Login, *, plain_http: bool = False, workspace: str = "", also: Sign | None = None
) -> None:
    """Make MLflow's client send `login` to the registry and to no other server; `also` sees each request, too.

    `workspace` is named in each request, where the registry has several; "" means its default one. Raises
    CredentialError when others could read a secret on its way to the registry and `plain_http` does not permit that.
    """
    secret = bool(login.authorization)
    if secret and is_readable_on_the_way(registry) and not plain_http:
        raise CredentialError("it would send the credentials in plain text; use https or set registry.plain_http")
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
            if secret:
                request.headers["Authorization"] = login.authorization
            if workspace:
                request.headers[WORKSPACE] = workspace
        return also(request) if also else request

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


_WORDS = (
    (r"Connection refused", "connection refused"),
    (r"NameResolutionError|Name or service not known|Temporary failure in name resolution", "its name is not known"),
    (r"Operation not permitted", "this unit may not reach its address (IPAddressAllow=, or a firewall)"),
    (r"No route to host|Network is unreachable", "no way to its network"),
    (r"[Tt]imed out|[Tt]imeout", "no answer in time"),
    (r"[Hh]ostname mismatch|IP address mismatch", "its certificate is for another name"),
    (r"CERTIFICATE_VERIFY_FAILED", "its certificate is not trusted"),
    (
        r"ALERT_(CERTIFICATE|UNKNOWN_CA|BAD_CERTIFICATE|DECRYPT_ERROR|HANDSHAKE_FAILURE)",
        "it does not accept this host's client certificate, or there is none",
    ),
    # With TLS 1.3 its alert about the certificate may be lost: the request is sent before the server has looked.
    (r"UNEXPECTED_EOF|EOF occurred", "it broke off the TLS handshake; it may want another client certificate"),
    (r"SSLError|WRONG_VERSION_NUMBER", "it does not speak TLS as expected"),
    (r"No space left on device", "no space left on device"),
    (
        r"IncompleteRead|Connection broken|Connection aborted|RemoteDisconnected|reset by peer",
        "it broke off its answer",
    ),
    (r"valid JSON|JSONDecodeError|ParseError|MessageToJson|Failed to parse", "its answer is not MLflow's"),
)
_CODES = {"401": "it asks for credentials", "403": "the credentials do not permit it", "404": "there is no such thing"}

_STATUS = re.compile(
    r"failed with error code ([1-5][0-9]{2})|too many ([1-5][0-9]{2}) error|\b([1-5][0-9]{2}) (?:Client|Server) Error"
)


def describe_failure(error: BaseException) -> str:
    """Describe a failure of MLflow's client in a few plain words: never a traceback, an answer's body or a secret."""
    text = " ".join(f"{type(cause).__name__}: {cause}" for cause in causes(error))[:20_000]
    status = _STATUS.search(text)
    if status:
        code = next(filter(None, status.groups()))
        return f"{_CODES[code]} (HTTP {code})" if code in _CODES else f"it answered HTTP {code}"
    is_mlflows_own = hasattr(error, "json") and hasattr(error, "error_code")  # MlflowException, without importing it
    if is_mlflows_own:
        return one_line(str(error), 200)
    for pattern, words in _WORDS:
        if re.search(pattern, text):
            return words
    return one_line(f"{type(error).__name__}: {error}", 200)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Follow an error to what it was raised from or while handling."""
    for _ in range(10):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__
