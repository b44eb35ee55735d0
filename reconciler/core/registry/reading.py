"""What a reading of the registry brings: models and versions, as the registry shows them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

READY = "READY"
"""The status of a version whose files are complete."""


@dataclass(frozen=True)
class Model:
    """A registered model."""

    name: str
    tags: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, int] = field(default_factory=dict)
    latest: tuple[int, ...] = ()
    """Versions that the registry names as the latest of a stage; among them is the newest."""


@dataclass(frozen=True)
class Version:
    """A model version."""

    name: str
    version: int
    stage: str = "None"
    status: str = READY
    source: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)
    registered_by: str = ""
    registered_at: datetime | None = None
    changed_at: datetime | None = None


@dataclass(frozen=True)
class RegistryReading:
    """All models that the registry holds, and those versions of them that a choice can depend on."""

    models: tuple[Model, ...] = ()
    versions: tuple[Version, ...] = ()
