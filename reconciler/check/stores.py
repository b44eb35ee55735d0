"""Looks for what this host lacks to download from the artifact stores in `fetch.hosts`."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from reconciler.check.host import CREDENTIAL_STORES, INSTALL_AGAIN, Finding
from reconciler.core.text.urls import is_readable_on_the_way
from reconciler.settings.model import Settings

LIBRARIES = {
    "s3": ("boto3", INSTALL_AGAIN),
    "gs": ("google.cloud.storage", "run ./dev install --with gs"),
    "wasbs": ("azure.storage.blob", "run ./dev install --with azure"),
    "abfss": ("azure.storage.filedatalake", "run ./dev install --with azure"),
}
"""By scheme of an address, the library that is needed there, and what brings it."""
KEYS = "artifacts.aws"


def stores(settings: Settings) -> Iterator[Finding]:
    """Find a missing library, and for buckets of `s3://` missing keys or a missing server."""
    named = {host.partition(":")[0]: host for host in settings.fetch.hosts}
    for scheme, host in named.items():
        library, mend = LIBRARIES.get(scheme, ("", ""))
        if library and not _is_installed(library):
            yield Finding(f"fetch.hosts names {host}, and there is no library for {scheme}:// here", mend)
    if "s3" not in named:
        return
    if not _is_given(KEYS):
        what = f"fetch.hosts names {named['s3']}, and there is no credential {KEYS}"
        yield Finding(what, f"put its keys into {CREDENTIAL_STORES[0]}/{KEYS} with mode 0600 (docs/credentials.md)")
    server = settings.fetch.s3_endpoint_url
    if not server:
        what = f"fetch.hosts names {named['s3']}, and fetch.s3_endpoint_url is empty"
        yield Finding(what, "set fetch.s3_endpoint_url to the address of the bucket's server")
    elif is_readable_on_the_way(server) and not settings.fetch.s3_plain_http:
        what = f"fetch.s3_endpoint_url is plain HTTP to another host, and nothing is fetched from {server}"
        yield Finding(what, "use https, or set fetch.s3_plain_http")


def _is_installed(module: str) -> bool:
    """Whether a module could be imported; only the packages above it are."""
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # one of the packages above is missing
        return False


def _is_given(credential: str) -> bool:
    """Whether systemd would find a credential, plain or encrypted."""
    directories = [Path(store) for store in CREDENTIAL_STORES]
    plain = any((directory / credential).exists() for directory in directories)
    encrypted = [*directories, *(Path(f"{directory}.encrypted") for directory in directories)]
    return plain or any((directory / f"{credential}.encrypted").exists() for directory in encrypted)
