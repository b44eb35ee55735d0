"""The address of a NATS server, as settings and tags name it."""

import re
from typing import Annotated
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator

_DEFAULT_PORT = 4222
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}|[0-9a-f:]{2,39}")
_WANTED = "should be an address such as nats://broker.example.org:4222, or one with tls://, and without a login"


def _broker(value: str) -> str:
    """Check the address of one server. Two ways to write the same one come out as the same text.

    It becomes an argument of a command line, and everybody may read the settings: so there is no login in it.
    """
    try:
        written = _written(urlsplit(value))
    except ValueError:  # a port or an IPv6 address that is none
        written = None
    if written is None:
        raise ValueError(_WANTED)
    return written


def _written(parts: SplitResult) -> str | None:
    """Write an address in the usual way; None where it is none."""
    host = parts.hostname or ""
    has_more = parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc
    is_address = parts.scheme in ("nats", "tls") and _HOST.fullmatch(host) is not None and parts.port != 0
    if has_more or not is_address:
        return None
    place = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{place}:{parts.port or _DEFAULT_PORT}"


Broker = Annotated[str, AfterValidator(_broker)]
