"""What a fetch needs of an artifact store."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class StoreError(Exception):
    """A store does not give its files; the message is `where: why; remedy`, without a secret."""


@dataclass(frozen=True)
class Entry:
    """One artifact as the store lists it."""

    path: str
    is_directory: bool
    size: int | None
    """Bytes, where the store tells."""


class Artifacts(Protocol):
    """The files of one model version. Both methods raise StoreError, or whatever the store's library raises."""

    def entries(self, below: str | None = None) -> Iterator[Entry]:
        """List one directory, the top one by default. The paths may be anything, and the list need not end."""
        ...

    def download(self, path: str, local: Path) -> None:
        """Download one file to `local`; several threads may do so at a time."""
        ...
