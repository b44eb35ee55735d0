"""How MLflow's client is set up here, and in which plain words its failures are told; it does not import MLflow."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from reconciler.core.quote import one_line

_CREDENTIALS = {
    "registry.username": "MLFLOW_TRACKING_USERNAME",
    "registry.password": "MLFLOW_TRACKING_PASSWORD",
    "registry.token": "MLFLOW_TRACKING_TOKEN",
}
MAX_CREDENTIAL_BYTES = 64 * 1024


def prepare_environment(timeout: int, retries: int) -> None:
    """Set what MLflow's client reads from the environment: time-out of a request in seconds, retries, credentials.

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
    )
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    for name, variable in _CREDENTIALS.items():
        path = Path(directory) / name if directory else None
        if path is not None and path.is_file():
            os.environ[variable] = path.read_bytes()[:MAX_CREDENTIAL_BYTES].decode(errors="replace").strip()


def forget_credentials() -> None:
    """Take the registry's credentials away again, before another host is spoken to."""
    for variable in _CREDENTIALS.values():
        os.environ.pop(variable, None)


_WORDS = (
    (r"Connection refused", "connection refused"),
    (r"NameResolutionError|Name or service not known|Temporary failure in name resolution", "its name is not known"),
    (r"No route to host|Network is unreachable", "no way to its network"),
    (r"[Tt]imed out|[Tt]imeout", "no answer in time"),
    (r"CERTIFICATE_VERIFY_FAILED", "its certificate is not trusted"),
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


def explain(error: BaseException) -> str:
    """Say in a few plain words what MLflow's client ran into: never a traceback, an answer's body or a secret."""
    text = " ".join(f"{type(cause).__name__}: {cause}" for cause in causes(error))[:20_000]
    status = _STATUS.search(text)
    if status:
        code = next(filter(None, status.groups()))
        return f"{_CODES[code]} (HTTP {code})" if code in _CODES else f"it answered HTTP {code}"
    if hasattr(error, "json") and hasattr(error, "error_code"):  # MLflow's own refusal, in its own words
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
