"""Reads the snapshot of the registry: the agent's file, or the last content of it that was accepted."""

import json
import pwd
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import ValidationError

from reconciler.core.state.snapshot import MAX_SNAPSHOT_BYTES, Snapshot
from reconciler.core.text.quote import one_line
from reconciler.files.atomic import in_words, put_aside, replace_file
from reconciler.files.untrusted import MissingFileError, UnacceptableFileError, owner_of, read_foreign_file

log = structlog.get_logger()


@dataclass(frozen=True)
class SnapshotReading:
    """The snapshot to go by, and the state of the agent's file."""

    snapshot: Snapshot | None
    """None when none was ever accepted: then nothing is desired, and nothing is removed for that."""
    touched: float | None
    """When the agent last confirmed its file, seconds since the epoch; None when there is no acceptable file."""
    problem: str = ""
    """Why the agent's file, or its copy for the next boot, cannot be used, in a sentence; "" when they can."""


class Snapshots:
    """Reads the agent's file. Invariant: a file that cannot be accepted leaves the last accepted one in force."""

    def __init__(self, source: Path, kept: Path, owner: Callable[[], int]) -> None:
        """Read `source` if user `owner()` owns it, and keep what was accepted in `kept`."""
        self._source = source
        self._kept = kept
        self._owner = owner
        self._accepted: Snapshot | None = None
        self._on_disk: Snapshot | None = None
        self._loaded = False
        self._usable = True
        self._parsed: tuple[bytes, Snapshot] | None = None

    def read(self, keep: bool = True) -> SnapshotReading:
        """Read the agent's file; with `keep`, an accepted snapshot outlives a reboot. Raises nothing."""
        last = self._last_accepted()
        try:
            file = read_foreign_file(self._source, self._owner(), MAX_SNAPSHOT_BYTES)
            snapshot = self._parse(file.content)
        except UnacceptableFileError as error:
            return SnapshotReading(last, None, f"cannot use the agent's snapshot: {error}")
        self._accepted = snapshot
        must_keep = keep and snapshot != self._on_disk
        problem = self._keep(snapshot) if must_keep else ""
        return SnapshotReading(snapshot, file.touched, problem)

    def _parse(self, content: bytes) -> Snapshot:
        """Parse the agent's file. Most passes find it unchanged, so the last result is kept."""
        if self._parsed is None or self._parsed[0] != content:
            self._parsed = content, _parse(content, self._source)
        return self._parsed[1]

    def _keep(self, snapshot: Snapshot) -> str:
        """Keep the snapshot for the next boot; return why not. It counts nevertheless: it may ask for removals."""
        if self._on_disk is not None and self._on_disk.same_selection(snapshot):
            return ""
        try:
            if not self._usable:  # a person may want to see what the unusable file said
                put_aside(self._kept)
                self._usable = True
            replace_file(self._kept, snapshot.model_dump_json(by_alias=True).encode(), 0o600)
        except OSError as error:
            return f"cannot keep the snapshot for the next boot: {in_words(error)}"
        self._on_disk = snapshot
        return ""

    def _last_accepted(self) -> Snapshot | None:
        if not self._loaded:
            # Only once: from then on this process knows what it accepted last.
            self._loaded = True
            try:
                # Ours; of whom it is, `reconciler check` does not know, which root runs.
                content = read_foreign_file(self._kept, owner_of(self._kept.parent), MAX_SNAPSHOT_BYTES).content
                self._accepted = self._on_disk = _parse(content, self._kept)
            except MissingFileError:
                self._accepted = None
            except UnacceptableFileError as error:
                self._accepted = None
                self._usable = False
                log.warning(f"cannot use the last accepted snapshot: {error}; the next one is waited for")
        return self._accepted


def agent_user(name: str) -> Callable[[], int]:
    """Look a user's id up each time: the user may be made later than the reconciler starts."""

    def uid() -> int:
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            raise UnacceptableFileError(f"there is no user {name}; run systemd-sysusers") from None

    return uid


def _parse(content: bytes, path: Path) -> Snapshot:
    try:
        snapshot = Snapshot.model_validate_json(content)
        # Pydantic takes the last of two; what may be read in two ways is not read at all.
        json.loads(content, object_pairs_hook=_without_repetition)
        return snapshot
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])[:100]
        raise UnacceptableFileError(one_line(f"{path}: {where or 'the document'}: {first['msg'][:200]}")) from error
    except (RecursionError, ValueError) as error:
        raise UnacceptableFileError(one_line(f"{path}: the document: {str(error)[:200]}")) from error


def _without_repetition(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object names a key twice")
    return found
