"""Fills the variables of a container that nobody else is to read: out of the credentials that systemd hands over."""

import re
from urllib.parse import quote, urlsplit, urlunsplit

from reconciler.adapters.credentials import CredentialError, bucket_keys, file_of, read_line, user_and_password

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_COMPOSES = re.compile(
    r"(?i)PATH|HOME|(LD_|PYTHON|DOCKER_|COMPOSE_|SSL_|CONTAINER_)[A-Z0-9_]*|GO(DEBUG|MAXPROCS|TRACEBACK)|[A-Z]+_PROXY"
)
"""Compose takes values out of its own environment, in which these would change what it does."""
_FREE = "compose.env"
_MAX_BYTES = 64 * 1024


def secrets(broker: str, *, asks_itself: bool) -> dict[str, str]:
    """Return the variables. Raises CredentialError.

    `asks_itself`: whether the image takes its requests from the broker and its recordings from the bucket, as SPIRA's
    first server does. `broker`: the broker's address, "" for none.
    """
    found = _free()
    if not asks_itself:
        return found
    if broker:
        found.setdefault("nats_conn_url", _with_login(broker))
    if file_of("recordings.aws") is not None:
        keys = bucket_keys("recordings")
        found.setdefault("minio_access_key", keys.access_key_id)
        found.setdefault("minio_secret_key", keys.secret_access_key)
    return found


def _free() -> dict[str, str]:
    """Read `compose.env`: lines of NAME=VALUE, each value exactly as it is there; `#` begins a line that is none."""
    path = file_of(_FREE)
    if path is None:
        return {}
    try:
        with path.open("rb") as stream:
            text = stream.read(_MAX_BYTES).decode()
    except (OSError, UnicodeDecodeError):
        raise CredentialError(f"the credential '{_FREE}' cannot be read as text") from None
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, is_pair, value = line.partition("=")
        if _COMPOSES.fullmatch(name):
            raise CredentialError(f"line {number} of the credential '{_FREE}' names {name}, which is compose's own")
        if not is_pair or _NAME.fullmatch(name) is None or not value.isprintable():
            raise CredentialError(f"line {number} of the credential '{_FREE}' is not NAME=VALUE")
        found[name] = value
    return found


def _with_login(broker: str) -> str:
    """Put the host's login at the broker into its address, where the first server looks for it."""
    pair, token = user_and_password("nats"), read_line("nats.token")
    login = ":".join(quote(part, safe="") for part in pair) if pair else quote(token or "", safe="")
    parts = urlsplit(broker)
    return urlunsplit(parts._replace(netloc=f"{login}@{parts.netloc}")) if login else broker
