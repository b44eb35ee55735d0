"""Which interpreters uv may download: those of its own list, or of one of the host's, which must have each digest."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reconciler.core.text.python_versions import can_serve, number
from reconciler.core.text.quote import one_line
from reconciler.steps.root_owned import others_can_change

DOWNLOADS = {"UV_PYTHON_DOWNLOADS": "manual", "UV_PYTHON_PREFERENCE": "managed"}
"""The environment in which uv lists and downloads interpreters, if it is told to; by itself it never does."""
MAX_LIST_BYTES = 64 * 1024 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class PythonSettings:
    """Which interpreters may be used beside those of the host."""

    managed: bool = False
    """Whether uv may download the ones that the host does not have."""
    mirror: str = ""
    """A directory or an address in place of uv's own; "" for none."""
    list: str = ""
    """A file with a list of interpreters in place of uv's own; "" for none."""
    offline: bool = False


def query(settings: PythonSettings) -> list[str]:
    """Return uv's arguments that print, as JSON, what can be downloaded."""
    return ["python", "list", "--only-downloads", "--output-format", "json", *list_argument(settings)]


def list_argument(settings: PythonSettings) -> list[str]:
    """Return uv's arguments that name the list, if it is not uv's own."""
    return ["--python-downloads-json-url", settings.list] if settings.list else []


def offered(listed: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the minor versions that can be downloaded and that the model server runs on, from what `query` prints."""
    found = set()
    for one in listed:
        is_usual = one["implementation"] == "cpython" and one["variant"] == "default"
        is_final = re.fullmatch(r"[0-9.]+", one["version"]) is not None
        minor = f"{one['version_parts']['major']}.{one['version_parts']['minor']}"
        if is_usual and is_final and can_serve(minor):
            found.add(minor)
    return sorted(found, key=number)


def why_no_list(path: str) -> str | None:
    """Say what is wrong with a list of interpreters; None when it may be used.

    It decides which programs run, so it has to be root's, and to have the digest of each. uv compares with a digest
    only where there is one.
    """
    try:
        changeable = others_can_change(path)
        with Path(path).open("rb") as stream:
            entries = json.loads(stream.read(MAX_LIST_BYTES))
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except (ValueError, RecursionError):
        return "is not JSON"
    if changeable:
        return f"can be changed by others than root, at {changeable}"
    if not isinstance(entries, dict):
        return "is not a list in uv's form"
    without = [key for key, entry in entries.items() if not _has_digest(entry)]
    return f"has no sha256 of {one_line(min(without), 80)}" if without else None


def _has_digest(entry: object) -> bool:
    digest = entry.get("sha256") if isinstance(entry, dict) else None
    return isinstance(digest, str) and _SHA256.fullmatch(digest) is not None
