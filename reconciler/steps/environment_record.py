"""What makes an environment complete: a record of everything in it, written last, checked before each use."""

import json
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError

from reconciler.core.text.strict import StrictModel
from reconciler.core.units.names import ENVIRONMENT_PATTERN
from reconciler.files.atomic import replace_file
from reconciler.steps.check_files import OddFileError, digest, listing
from reconciler.steps.manifest import Environment, Sha256
from reconciler.steps.sole_access import why_not_alone

COMPLETE = "complete.json"
VENV = "venv"
MAX_RECORD_BYTES = 4 * 1024 * 1024


class Complete(StrictModel):
    """The record of one finished environment."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    digest: Annotated[str, StringConstraints(pattern=rf"^{ENVIRONMENT_PATTERN}$")]
    python: str
    """Path of the interpreter it was made from; when that is upgraded in place the environment goes on working."""
    packages: tuple[str, ...]
    ignored: tuple[str, ...] = ()
    """Options in the requirements of the model that it was built for, which counted for nothing."""
    modelserver: Sha256
    entries: int
    content: Sha256
    """Digest over the path, size and content of every file (link: its target), bytecode too."""


def why_incomplete(environment_dir: Path, expected_digest: str, pinned: str | None = None) -> str | None:
    """Say why an environment cannot be used; None when it is complete and as it was built.

    `pinned` is the digest that root recorded of it: the record beside it belongs to a user who could change both.
    """
    why = why_not_alone(environment_dir)
    if why:
        return why
    try:
        # A longer file is cut off, and so is no JSON any more.
        with (environment_dir / COMPLETE).open("rb") as stream:
            record = Complete.model_validate_json(stream.read(MAX_RECORD_BYTES))
    except FileNotFoundError:
        return "was not built completely"
    except ValidationError:
        return "has a record that this product did not write"
    # Somebody may have moved another environment to this place.
    if record.digest != expected_digest:
        return f"is another one ({record.digest})"
    if not (environment_dir / VENV / "bin" / "python").exists():
        return f"has lost its interpreter {record.python}"
    # Last, because it reads every file.
    try:
        found = content(environment_dir / VENV)
    except OddFileError as odd:
        return f"is not what was built: {odd}"
    is_as_recorded = found == (record.entries, record.content)
    is_as_pinned = pinned in (None, record.content)
    if not is_as_recorded or not is_as_pinned:
        return "is not what was built: files were added, removed or changed"
    return None


def record(environment_dir: Path, wanted: Environment, python: str, packages: tuple[str, ...], server: str) -> Complete:
    """Write the record durably; from here on the environment counts as complete.

    `wanted`: what was asked for. `server`: the digest of the model server in it.
    """
    entries, content_digest = content(environment_dir / VENV)
    complete = Complete(
        digest=wanted.digest,
        python=python,
        packages=packages,
        ignored=wanted.ignored,
        modelserver=server,
        entries=entries,
        content=content_digest,
    )
    replace_file(
        environment_dir / COMPLETE,
        json.dumps(complete.model_dump(mode="json", by_alias=True), indent=1).encode(),
        0o644,
    )
    return complete


def content(venv: Path) -> tuple[int, str]:
    """Count and digest what is in an environment: paths, bytes and where links lead."""
    found = listing(str(venv), links=True)
    return len(found), digest(found)
