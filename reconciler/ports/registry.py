"""What the agent needs of a model registry."""

from collections.abc import Sequence
from typing import Protocol

from reconciler.core.registry.reading import RegistryReading, Version
from reconciler.core.state.snapshot import Choose


class RegistryError(Exception):
    """There is no reading: the message says why in plain words, without addresses and secrets."""


class Registry(Protocol):
    """A registry that can be read as a whole and told how its models fare here."""

    def read(self, selectors: Sequence[str], choose: Choose) -> RegistryReading:
        """Read all models and the versions that a choice can depend on; raises RegistryError, never returns a part."""
        ...

    def told(self, key: str) -> tuple[Version, ...]:
        """Find the versions that bear a tag; raises RegistryError."""
        ...

    def report(self, name: str, version: int, key: str, value: str) -> None:
        """Set a tag on a model version; raises RegistryError."""
        ...
