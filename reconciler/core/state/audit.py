"""The audit log: one entry for each thing that an auditor asks about, and how entries follow from each other.

Which release of which version answered when, from which files, who asked for it, and why it ended. Entries are only
added. Each carries the hash of the line before it, so that a line that was changed, taken out or put in shows.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from reconciler.core.state.ledger import Words
from reconciler.core.text.strict import StrictModel
from reconciler.core.units.names import DeployableName, StrictReleaseId

NOTHING_BEFORE = "0" * 64
"""The hash that the first line of all carries."""
LongWords = Annotated[str, StringConstraints(max_length=5000)]


class Event(StrEnum):
    """What an entry tells."""

    BEGAN = "began"
    """A release began to serve."""
    ENDED = "ended"
    """A release that served does not any more."""
    EXPLAINED = "explained"
    """A release that had ended before turned out to have ended for this reason."""
    REJECTED = "rejected"
    """A release failed before it ever served."""
    ASKED = "asked"
    """A person asked for something."""


class Origin(StrictModel):
    """Where a release comes from, and which bytes it is made of; empty is what nobody knows."""

    registry: Words = ""
    source: LongWords = ""
    """Where its artifacts were downloaded from."""
    selected_by: Words = ""
    """The selector, such as `stage:Production`."""
    registered_by: Words = ""
    """Who made the version, as MLflow says; it does not know who promoted it."""
    registered_at: AwareDatetime | None = None
    changed_at: AwareDatetime | None = None
    """When the version was changed last in the registry, as it was read when the version was selected."""
    promoted_by: Words = ""
    """What the version's tag `promoted_by` says."""
    files: Words = ""
    """SHA-256 over all files of the version."""
    environment: Words = ""
    """The id of the environment, a digest of the requirements; `host` for the host's own."""
    environment_files: Words = ""
    """SHA-256 over all files of the environment."""


class Asked(StrictModel):
    """What a person asked for, and what came of it."""

    verb: Words
    by: Words
    why: Words = ""
    version: int | None = None
    until: AwareDatetime | None = None
    done: bool
    answer: LongWords


class Entry(StrictModel):
    """One line of the log, before it is sealed."""

    # The form of the lines: auditors keep them for longer than any version of the product lasts.
    schema_: Literal[1] = Field(default=1, alias="schema")
    number: int
    """They count up by one; a number that is missing is an entry that was lost, or taken out."""
    at: AwareDatetime
    """When the reconciler saw it."""
    host: Words
    event: Event
    name: DeployableName | None = None
    """The deployment; None for what concerns the whole host."""
    version: int | None = None
    release: StrictReleaseId | None = None
    began: AwareDatetime | None = None
    ended: AwareDatetime | None = None
    why: Words = ""
    origin: Origin | None = None
    asked: Asked | None = None
    imported: bool = False
    """It was made of the history that was kept before there was this log."""


@dataclass(frozen=True)
class Happened:
    """What an entry is made of, before it has a number."""

    at: AwareDatetime
    event: Event
    fields: dict[str, Any] = field(default_factory=dict)

    def entry(self, number: int, host: str) -> Entry:
        """Give it its place."""
        return Entry(schema=1, number=number, at=self.at, host=host, event=self.event, **self.fields)


@dataclass(frozen=True)
class Signer:
    """Signs lines with a key of this host's."""

    key: str
    """Tells one key from another: the beginning of the hash of its public half."""
    sign: Callable[[bytes], str]
    """Gives the signature of some bytes, as base64."""


def sealed(entry: Entry, previous: str, signer: Signer | None = None) -> bytes:
    """Make the line of an entry, without its line break.

    `previous` is the hash of the line before it. The signature is of the line as it is without the signature.
    """
    said = json.loads(entry.model_dump_json(by_alias=True, exclude_defaults=True))
    line = {"schema": 1, **said, "previous": previous}
    if signer is None:
        return _text(line)
    line["key"] = signer.key
    return _text({**line, "signature": signer.sign(_text(line))})


def hash_of(line: bytes) -> str:
    """Return what the line after this one carries: SHA-256 of all its bytes without the line break."""
    return hashlib.sha256(line).hexdigest()


def read_line(line: bytes) -> tuple[Entry, str]:
    """Read an entry, and the hash of the line before that it carries. Raises ValueError."""
    document = json.loads(line)
    if not isinstance(document, dict):
        raise ValueError("it is no entry")
    previous = document.pop("previous", None)
    for seal in ("key", "signature"):
        document.pop(seal, None)
    if not isinstance(previous, str):
        raise ValueError("it carries no hash of the line before it")
    return Entry.model_validate_json(json.dumps(document)), previous


def breaks(lines: Iterable[bytes]) -> Iterator[str]:
    """Yield in a sentence what shows that lines were changed, taken out or put in.

    What comes before the first line is not known: earlier lines may be kept elsewhere.
    """
    before: tuple[int, str] | None = None
    for line in lines:
        try:
            entry, previous = read_line(line)
        except ValueError:
            yield f"the line after entry {before[0] if before else 0} is no entry"
            before = None
            continue
        if before is not None:
            number, digest = before
            if previous != digest:
                yield f"entry {entry.number} does not follow from the line before it, which has the number {number}"
            elif entry.number != number + 1:
                yield f"entries {number + 1} to {entry.number - 1} were lost before they could be written"
        before = entry.number, hash_of(line)


def _text(line: dict[str, object]) -> bytes:
    """Write without spaces, in one form only, and with ASCII alone: what is hashed looks the same to every tool."""
    return json.dumps(line, separators=(",", ":")).encode()
