"""Which of a host's tags in the registry have to be set again; `tag_words` has what they say.

A tag ends with the time when it was last true, so that its readers see that a host is gone: `… (seen 2026-01-02T03:04Z,
host 1a2b3c4d)`. By the last word a host finds the tags that it set under a former name.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from reconciler.core.registry.reading import Version
from reconciler.core.registry.tag_words import TIME, Place, of_refused, wanted_words
from reconciler.core.state.reason import Reason
from reconciler.core.state.status import Status
from reconciler.core.text import quote

PREFIX = "deployed."
REMOVED = "removed"
"""The first word of the tag of a version that is no longer here."""
REFRESHED = timedelta(hours=1)
"""How often a host says again that a tag is true."""
OLD = timedelta(hours=3)
"""A tag that is older is kept up by nobody: its host is gone, off, or has another name."""
AHEAD = timedelta(minutes=5)
"""By which the clock of another host may seem ahead."""
_OWN_KEY = b"mlflow-systemd deployed"
_SEEN = "%Y-%m-%dT%H:%MZ"
_SUFFIX = re.compile(r" \(seen (?P<seen>\d{4}-\d\d-\d\dT\d\d:\d\dZ)(?:, host (?P<host>[0-9a-f]{8}))?\)\Z", re.ASCII)


class DueTag(NamedTuple):
    """A tag that has to be set, and its new value."""

    name: str
    version: int
    key: str
    value: str


@dataclass(frozen=True)
class Host:
    """Under which tag a host reports, and by which word it knows its own tags."""

    key: str
    id: str = ""
    """Empty where a host has no id: then it knows its tags by `key` alone."""


@dataclass(frozen=True)
class Told:
    """What a tag says, and when it was last true; None where it does not say."""

    words: str = ""
    seen: datetime | None = None
    host: str = ""

    @property
    def news(self) -> str:
        """How the version fares; empty when there is no tag, or it says that the version was removed.

        Who wrote it and when makes no difference.
        """
        return "" if self.words.startswith(REMOVED) else self.words

    def is_current(self, now: datetime, patience: timedelta) -> bool:
        """Tell whether a host has said within `patience` that the tag is true."""
        if self.seen is None or is_to_come(self.seen, now):
            return False
        return now - self.seen < patience


def is_to_come(seen: datetime, now: datetime) -> bool:
    """Tell whether no host can have seen it yet: such a time is a wrong clock's, or was typed."""
    return seen > now + AHEAD


def tag_key(host: str) -> str:
    """Name the tag of a host in the characters and length that MLflow allows.

    Two hosts whose names differ in other characters only share a tag: the last one to write is told.
    """
    return quote.tag_key(PREFIX, host)


def host_id(machine_id: bytes) -> str:
    """Make the eight hex digits that stand for a host whatever its name; "" where it has no machine id.

    The machine id itself is confidential (machine-id(5)), so nobody can compute it from these.
    """
    own = machine_id.strip()
    if not own:
        return ""
    return hmac.new(own, _OWN_KEY, hashlib.sha256).hexdigest()[:8]


def due(
    status: Status,
    versions: Iterable[Version],
    host: Host,
    now: datetime,
    refused: Mapping[Place, str] | None = None,
) -> Iterator[DueTag]:
    """Yield the tags that have to be set so that the registry says what the status says.

    `versions`: those that have a tag of this host or should have one, with all their tags. `refused`: selected versions
    that no host can deploy, and why; the status cannot name them. Setting a tag that this yields makes it current:
    asked again at the same time with the new tags, this yields nothing.
    """
    # Where nobody has kept the status up, what it says may be wrong by now: then it is not said again.
    read_at, patience = status.registry.read_at, max(REFRESHED, timedelta(seconds=status.registry.fresh_for or 0))
    is_kept_up = status.is_current and (read_at is None or now - read_at < patience)
    wanted = wanted_words(status) | {place: of_refused(why) for place, why in (refused or {}).items()}
    unknown = _of_unknown_selection(status)
    removed = f"{REMOVED} {now:{TIME}}"
    for version in versions:
        place = Place(version.name, version.version)
        told = told_by(version.tags.get(host.key, ""))
        words = wanted.get(place, "")
        if words:
            says_so = _says(words, told, host)
            if not says_so or (is_kept_up and not told.is_current(now, REFRESHED)):
                yield DueTag(*place, host.key, _signed(words, host, now))
        elif told.news and version.name not in unknown:
            yield DueTag(*place, host.key, removed)
        for former in _former_keys(version, host, now):
            yield DueTag(*place, former, f"{removed}: that host is {host.key} now")


def _of_unknown_selection(status: Status) -> frozenset[str]:
    """Name the deployments of which the reconciler does not know yet what is wanted: nothing is said to be gone."""
    without = (one.name for one in status.deployments if one.reason is Reason.NO_SNAPSHOT)
    return frozenset(without)


def _says(words: str, told: Told, host: Host) -> bool:
    """Tell whether a tag says `words`, and in this host's name: another host or a person may have written the same."""
    return told.words == words and told.host == host.id


def _former_keys(version: Version, host: Host, now: datetime) -> Iterator[str]:
    """Yield the keys of the tags that this host set under another name.

    A copy of this machine has the same id and another name. It is a host of its own, and it keeps its tag up: a tag
    that is current is not this host's to remove.
    """
    if not host.id:
        return
    for key, value in version.tags.items():
        if not key.startswith(PREFIX) or key == host.key:
            continue
        told = told_by(value)
        is_ours = told.host == host.id
        if is_ours and not told.is_current(now, OLD):
            yield key


def told_by(value: str) -> Told:
    """Take a tag's value apart.

    Anybody may write such a tag. A text that no host of ours wrote is all words, without a time and a host.
    """
    end = _SUFFIX.search(value)
    if end is None:
        return Told(value)
    words = value[: end.start()]
    host = end["host"] or ""
    try:
        seen = datetime.strptime(end["seen"], _SEEN).replace(tzinfo=UTC)
    except ValueError:
        # The pattern takes the 45th of some month; nobody has seen that day.
        return Told(words, None, host)
    return Told(words, seen, host)


def _signed(words: str, host: Host, now: datetime) -> str:
    """Put the time and the host behind the words; `told_by` takes them apart again."""
    signature = f", host {host.id}" if host.id else ""
    return f"{words} (seen {now:{_SEEN}}{signature})"
