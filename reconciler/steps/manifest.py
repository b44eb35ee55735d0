"""The manifest of a release: what was fetched and which environment it needs; written last, it means complete."""

import json
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, ValidationError

from reconciler.core.text.strict import StrictModel
from reconciler.core.units.names import ENVIRONMENT_PATTERN, HOST_ENVIRONMENT, DeployableName
from reconciler.files.atomic import replace_file
from reconciler.steps.check_files import digest, line
from reconciler.steps.step_report import StepError

MANIFEST = "manifest.json"
MODEL = "model"
MAX_MANIFEST_BYTES = 16 * 1024 * 1024

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


def _relative(path: str) -> str:
    if why := why_not_a_path(path):
        raise ValueError(why)
    return path


def why_not_a_path(path: str) -> str | None:
    """Say what is wrong with a relative path that somebody else chose; None when it stays inside and is harmless."""
    parts = PurePosixPath(path).parts
    if not path or path.startswith("/") or ".." in parts or "/".join(parts) != path:
        return "it leads out of the model's directory"
    if not path.isprintable():
        return "it has characters that cannot be shown"
    if len(parts) > 32 or len(path.encode()) > 1024 or any(len(part.encode()) > 255 for part in parts):
        return "it is too long"
    return None


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
        return digest({path: line(record.size, record.sha256) for path, record in self.files.items()})

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(record.size for record in self.files.values())


def read(release: Path) -> Manifest:
    """Read a release's manifest.

    Raises FileNotFoundError when there is none, StepError when it is not one.
    """
    path = release / MANIFEST
    with path.open("rb") as stream:
        raw = stream.read(MAX_MANIFEST_BYTES + 1)
    try:
        if len(raw) > MAX_MANIFEST_BYTES:
            raise ValueError("too large")
        return Manifest.model_validate_json(raw)
    except (ValidationError, ValueError) as error:
        raise StepError(f"cannot use {path}: it is not a manifest of this product; fetch the model again") from error


def write(release: Path, manifest: Manifest) -> None:
    """Write the manifest durably; from here on the release counts as fetched."""
    document = manifest.model_dump(mode="json", by_alias=True)
    replace_file(release / MANIFEST, json.dumps(document, indent=1, sort_keys=True).encode(), 0o644)
