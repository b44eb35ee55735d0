"""What the agent needs of a model registry."""

from typing import Protocol

from reconciler.core.select import RegistryReading


class RegistryError(Exception):
    """There is no reading: the message says why in plain words, without addresses and secrets."""


class Registry(Protocol):
    """A registry that can be read as a whole and told how its models fare here."""

    def read(self) -> RegistryReading:
        """Read everything at once; raises RegistryError, never returns a part."""
        ...

    def report(self, name: str, version: int, key: str, value: str) -> None:
        """Set a tag on a model version; raises RegistryError."""
        ...
