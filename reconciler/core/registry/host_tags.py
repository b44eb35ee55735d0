"""What a host's tags in the registry say, and which of them have to be set again.

A tag ends with the time when it was last true, so that its readers see that a host is gone: `… (seen 2026-01-02T03:04Z,
host 1a2b3c4d)`. By the last word a host finds the tags that it set under a former name.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from reconciler.core.registry.reading import Version
from reconciler.core.state.status import DeploymentStatus, State, Status
from reconciler.core.text import quote
from reconciler.core.text.quote import one_line

PREFIX = "deployed."
MAX_VALUE = 500
"""Characters. MLflow takes 5000, but people read these tags in a table."""
REMOVED = "removed"
"""The first word of the tag of a version that is no longer here."""
REFRESHED = timedelta(hours=1)
"""How often a host says again that a tag is true."""
OLD = timedelta(hours=3)
"""A tag that is older is kept up by nobody: its host is gone, off, or has another name."""
_VERSION = re.compile(r"[0-9]{1,10}")
_OWN_KEY = b"mlflow-systemd deployed"
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_SEEN = "%Y-%m-%dT%H:%MZ"
_SUFFIX = re.compile(r" \(seen (?P<seen>\d{4}-\d\d-\d\dT\d\d:\d\dZ)(?:, host (?P<host>[0-9a-f]{8}))?\)\Z", re.ASCII)


class Place(NamedTuple):
    """A version of a model: tags are set there."""

    name: str
    version: int


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
        if self.seen is None:
            return False
        age = now - self.seen
        # No host has seen the future: such a time is a wrong clock's or was typed.
        return timedelta(0) <= age < patience


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


def deployed(status: Status) -> Iterator[Place]:
    """Yield every version that the status is about: the desired ones and the active ones.

    They are the places where this host has a tag. A version that is desired and active comes twice.
    """
    for deployment in status.deployments:
        texts = (deployment.desired_version, deployment.active_version)
        for version in map(_number, texts):
            if version is not None:
                yield Place(deployment.name, version)


def due(status: Status, versions: Iterable[Version], host: Host, now: datetime) -> Iterator[DueTag]:
    """Yield the tags that have to be set so that the registry says what the status says.

    `versions`: those that have a tag of this host or should have one, with all their tags. Setting a tag that this
    yields makes it current: asked again at the same time with the new tags, this yields nothing.
    """
    wanted = _wanted(status)
    here = frozenset(deployed(status))
    removed = f"{REMOVED} {now:{_TIME}}"
    for version in versions:
        place = Place(version.name, version.version)
        told = told_by(version.tags.get(host.key, ""))
        words = wanted.get(place, "")
        is_desired = bool(words)
        if not is_desired and place in here:
            # The active version of a rollout. The status speaks of the desired one, and what this tag says is still
            # true: the host goes on saying it.
            words = told.news
        if words:
            if _has_to_be_said(words, told, host, now):
                yield DueTag(*place, host.key, _signed(words, host, now))
        elif told.news:
            yield DueTag(*place, host.key, removed)
        for former in _former_keys(version, host, now):
            yield DueTag(*place, former, f"{removed}: that host is {host.key} now")


def _wanted(status: Status) -> dict[Place, str]:
    """Say what the tag of each desired version should say, without its end.

    A deployment whose status has no version, such as one of a name that cannot be deployed, has no tag.
    """
    wanted = {}
    for deployment in status.deployments:
        version = _number(deployment.desired_version)
        if version is not None:
            place = Place(deployment.name, version)
            wanted[place] = value_of(deployment)
    return wanted


def _has_to_be_said(words: str, told: Told, host: Host, now: datetime) -> bool:
    """Tell whether a tag that should say `words` has to be set: it says something else, or has not been kept up."""
    if told.words != words:
        return True
    if told.host != host.id:
        # The same words, and another host or a person wrote them.
        return True
    return not told.is_current(now, REFRESHED)


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


def value_of(deployment: DeploymentStatus) -> str:
    """Say in one short text how a deployment fares: its state, since when, and its address or what is wrong.

    A message stands for the time, so that the tag of a deployment with trouble begins with its state and the reason.
    A version that serves without having been tried has both.
    """
    since = f"{deployment.since.astimezone(UTC):{_TIME}}"
    if deployment.state in (State.SERVING, State.IDLE):
        parts = (deployment.state, since, deployment.url)
        words = " ".join(filter(None, parts))
        if deployment.serves_untried:
            words = f"{words}: {deployment.message}"
    elif deployment.message:
        words = f"{deployment.state}: {deployment.message}"
    else:
        words = f"{deployment.state} {since}"
    # Messages have words of models in them: MLflow's table shows one line.
    return one_line(words, MAX_VALUE)


def _number(version: str | None) -> int | None:
    """Read a version of the status, which are texts there.

    None where the deployment has none, and where it is no number that a registry gives: what a status says of such a
    version has no place in the registry.
    """
    match = _VERSION.fullmatch(version or "")
    return int(match[0]) if match else None
