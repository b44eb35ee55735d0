"""What the agent needs of a model registry."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from reconciler.core.registry.reading import RegistryReading, Version
from reconciler.core.state.snapshot import Choose


class RegistryError(Exception):
    """The registry could not be read; the message says why in plain words, without addresses and secrets."""


class Registry(Protocol):
    """A registry that can be read as a whole, and whose versions this host can tag."""

    def read(self, selectors: Sequence[str], choose: Choose) -> RegistryReading:
        """Read all models and the versions that a choice can depend on. Never returns a part; raises RegistryError."""
        ...

    def tagged_versions(self, key: str) -> tuple[Version, ...]:
        """Find the versions with a tag of this key; raises RegistryError."""
        ...

    def report(self, name: str, version: int, key: str, value: str) -> None:
        """Set a tag on a model version; raises RegistryError."""
        ...

    def experiment_tags(self, name: str) -> Mapping[str, str]:
        """Return the tags of an experiment, none of one that does not exist; raises RegistryError."""
        ...

    def tag_experiment(self, name: str, key: str, value: str) -> None:
        """Set a tag of an experiment, which is made if it does not exist; raises RegistryError."""
        ...
