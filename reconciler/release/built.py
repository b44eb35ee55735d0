"""What makes an environment complete: a record of everything in it, written last, checked before each use."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from reconciler.apply.atomic import replace_file
from reconciler.core.names import ENVIRONMENT_PATTERN
from reconciler.release.manifest import Sha256

COMPLETE = "complete.json"
VENV = "venv"
MAX_RECORD_BYTES = 4 * 1024 * 1024


class Complete(BaseModel):
    """The record of one finished environment."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    schema_: Literal[1] = Field(default=1, alias="schema")
    digest: Annotated[str, StringConstraints(pattern=rf"^{ENVIRONMENT_PATTERN}$")]
    python: str
    """Path of the interpreter it was made from; when that is upgraded in place the environment goes on working."""
    packages: tuple[str, ...]
    modelserver: Sha256
    entries: int
    content: Sha256
    """Digest over the path and size of every file (link: its target), bytecode aside."""


def why_incomplete(environment: Path, digest: str) -> str | None:
    """Say what keeps an environment from being used; None when it is complete and as it was built."""
    try:
        with (environment / COMPLETE).open("rb") as stream:
            record = Complete.model_validate_json(stream.read(MAX_RECORD_BYTES))
    except FileNotFoundError:
        return "was not built completely"
    except ValidationError:
        return "has a record that this product did not write"
    if record.digest != digest:
        return f"is another one ({record.digest})"
    if not (environment / VENV / "bin" / "python").exists():
        return f"has lost its interpreter {record.python}"
    if content(environment / VENV) != (record.entries, record.content):
        return "is not what was built: files were added, removed or changed in size"
    return None


def record(environment: Path, digest: str, python: str, packages: tuple[str, ...], server: str) -> Complete:
    """Write the record durably; from here on the environment counts as complete."""
    entries, listing = content(environment / VENV)
    complete = Complete(
        digest=digest, python=python, packages=packages, modelserver=server, entries=entries, content=listing
    )
    replace_file(
        environment / COMPLETE, json.dumps(complete.model_dump(mode="json", by_alias=True), indent=1).encode(), 0o644
    )
    return complete


def content(venv: Path) -> tuple[int, str]:
    """Count and digest the names and sizes of what is in an environment."""
    digest, count = hashlib.sha256(), 0
    for line in _lines(venv, ""):
        digest.update(line.encode(errors="surrogateescape"))
        count += 1
    return count, digest.hexdigest()


def _lines(venv: Path, prefix: str) -> Iterator[str]:
    with os.scandir(venv / prefix) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = f"{prefix}{entry.name}"
            if entry.is_symlink():
                yield f"{path}\0{Path(entry.path).readlink()}\0"
            elif not entry.is_dir(follow_symlinks=False):
                yield f"{path}\0{entry.stat(follow_symlinks=False).st_size}\0"
            elif entry.name != "__pycache__":
                yield from _lines(venv, f"{path}/")
