"""Describes failures of MLflow's client, of boto3 and of urllib3 in plain words; imports none of them."""

import re
from collections.abc import Iterator

from reconciler.core.text.quote import one_line

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


def status_words(code: str) -> str:
    """Say what an answer with this HTTP status, which is no success, means."""
    return f"{_CODES[code]} (HTTP {code})" if code in _CODES else f"it answered HTTP {code}"


def describe_failure(error: BaseException) -> str:
    """Describe a failure of a client in a few plain words: never a traceback, an answer's body or a secret."""
    text = " ".join(f"{type(cause).__name__}: {cause}" for cause in causes(error))[:20_000]
    status = _STATUS.search(text)
    if status:
        return status_words(next(filter(None, status.groups())))
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
