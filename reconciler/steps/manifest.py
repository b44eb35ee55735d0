"""The manifest of a release: its files and the environment that it needs. Written last, it means complete."""

import json
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, ValidationError

from reconciler.core.text.strict import StrictModel
from reconciler.core.units.names import ENVIRONMENT_PATTERN, HOST_ENVIRONMENT, DeployableName
from reconciler.files.atomic import replace_file
from reconciler.steps.check_files import digest, listing_line
from reconciler.steps.step_report import StepError

MANIFEST = "manifest.json"
MODEL = "model"
MAX_MANIFEST_BYTES = 16 * 1024 * 1024
MAX_PARTS = 32
MAX_PATH_BYTES = 1024
MAX_NAME_BYTES = 255
"""Less than Linux and its file systems allow, so that no path fails half-way into a download."""

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


def _relative(path: str) -> str:
    why = why_not_a_path(path)
    if why:
        raise ValueError(why)
    return path


def why_not_a_path(path: str) -> str | None:
    """Say what is wrong with a path that somebody else chose; None when it stays below a directory and is harmless."""
    parts = PurePosixPath(path).parts
    is_relative = path != "" and not path.startswith("/")
    is_plain = "/".join(parts) == path  # no "//", no "/./", no "/" at its end: one file has one name
    if not is_relative or not is_plain or ".." in parts:
        return "it leads out of the model's directory"
    # It is shown in sentences and logs.
    if not path.isprintable():
        return "it has characters that cannot be shown"
    longest_part = max(len(part.encode()) for part in parts)
    is_deep = len(parts) > MAX_PARTS
    is_long = len(path.encode()) > MAX_PATH_BYTES or longest_part > MAX_NAME_BYTES
    return "it is too long" if is_deep or is_long else None


class FileRecord(StrictModel):
    """One file as it was fetched."""

    sha256: Sha256
    size: int = Field(ge=0)


class Environment(StrictModel):
    """What the model needs to run, and the digest that identifies it."""

    digest: Annotated[str, StringConstraints(pattern=rf"^({ENVIRONMENT_PATTERN}|{HOST_ENVIRONMENT})$")]
    python: Annotated[str, StringConstraints(pattern=r"^3\.[0-9]{1,2}$")]
    requirements: tuple[Annotated[str, StringConstraints(max_length=50_000)], ...]
    modelserver: Sha256
    """Digest of the server that was installed here when the model was fetched; part of `digest`."""
    pins: Sha256 | None = None
    """Digest of the server's own requirements with their hashes, where each file must have one; part of `digest`."""
    constraints: tuple[Annotated[str, StringConstraints(max_length=50_000)], ...] = ()
    """Versions that packages must have if something requires them; part of `digest`."""
    ignored: tuple[Annotated[str, StringConstraints(max_length=200)], ...] = ()
    """Options of the model's requirements that count for nothing here; told, and no part of `digest`."""


class Manifest(StrictModel):
    """One fetched model version."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    name: DeployableName
    version: int = Field(ge=1)
    source: str
    files: dict[Annotated[str, AfterValidator(_relative)], FileRecord]
    environment: Environment

    @property
    def pin(self) -> str:
        """One digest over path, size and content of all files."""
        return digest({path: listing_line(record.size, record.sha256) for path, record in self.files.items()})

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(record.size for record in self.files.values())


def read(release_dir: Path) -> Manifest:
    """Read a release's manifest.

    Raises FileNotFoundError when there is none, StepError when it is not one.
    """
    path = release_dir / MANIFEST
    # The user of the step owns it and could write anything.
    with path.open("rb") as stream:
        raw = stream.read(MAX_MANIFEST_BYTES + 1)
    try:
        if len(raw) > MAX_MANIFEST_BYTES:
            raise ValueError("too large")
        return Manifest.model_validate_json(raw)
    except (ValidationError, ValueError) as error:
        raise StepError(f"cannot use {path}: it is not a manifest of this product; fetch the model again") from error


def write(release_dir: Path, manifest: Manifest) -> None:
    """Write the manifest durably; from here on the release counts as fetched."""
    document = manifest.model_dump(mode="json", by_alias=True)
    replace_file(release_dir / MANIFEST, json.dumps(document, indent=1, sort_keys=True).encode(), 0o644)
