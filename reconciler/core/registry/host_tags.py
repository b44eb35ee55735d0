"""What a host's tags in the registry say, and which of them are not as they should be. Pure.

A tag ends with when it was last true, so that whoever reads it sees that a host is gone: `… (seen 2026-01-02T03:04Z,
host 1a2b3c4d)`. By the last word a host finds the tags that it set under a former name.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from reconciler.core.registry.selection import Version
from reconciler.core.state.status import DeploymentStatus, State, Status
from reconciler.core.text import quote
from reconciler.core.text.quote import one_line

PREFIX = "deployed."
MAX_VALUE = 500
REMOVED = "removed"
REFRESHED = timedelta(hours=1)
"""How often a tag says anew that it is true."""
OLD = timedelta(hours=3)
"""From then on nobody keeps a tag up any more: its host is gone, off, or has another name."""
_OWN_KEY = b"mlflow-systemd deployed"
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_SEEN = "%Y-%m-%dT%H:%MZ"
_SUFFIX = re.compile(r" \(seen (?P<seen>\d{4}-\d\d-\d\dT\d\d:\d\dZ)(?:, host (?P<host>[0-9a-f]{8}))?\)\Z", re.ASCII)


@dataclass(frozen=True)
class Host:
    """Under which tag a host reports, and by which word it knows its own."""

    key: str
    id: str = ""


@dataclass(frozen=True)
class Told:
    """What a tag says, and when it was last true; None where it does not say."""

    words: str = ""
    seen: datetime | None = None
    host: str = ""

    def is_current(self, now: datetime, patience: timedelta) -> bool:
        """Tell whether somebody has kept it up; a time in the future is nobody's."""
        return self.seen is not None and timedelta(0) <= now - self.seen < patience


def tag_key(host: str) -> str:
    """Name the tag of a host in the characters and length that MLflow allows."""
    return quote.tag_key(PREFIX, host)


def host_id(machine_id: bytes) -> str:
    """Tell a host from others whatever its name, without giving its machine id away; "" where it has none."""
    own = machine_id.strip()
    return hmac.new(own, _OWN_KEY, hashlib.sha256).hexdigest()[:8] if own else ""


def deployed(status: Status) -> Iterator[tuple[str, int]]:
    """Yield every (model, version) that the status is about."""
    for deployment in status.deployments:
        for version in (_number(deployment.desired_version), _number(deployment.active_version)):
            if version is not None:
                yield deployment.name, version


def due(status: Status, versions: Iterable[Version], host: Host, now: datetime) -> Iterator[tuple[str, int, str, str]]:
    """Yield (model, version, key, value) for every tag that is not as the status asks for, or was not kept up."""
    wanted: dict[tuple[str, int], str] = {}
    for deployment in status.deployments:
        if (version := _number(deployment.desired_version)) is not None:
            wanted[deployment.name, version] = value_of(deployment)
    here = frozenset(deployed(status))
    for found in versions:
        place, told = (found.name, found.version), told_by(found.tags.get(host.key, ""))
        words = wanted.get(place) or (told.words if place in here else "")
        if words and not words.startswith(REMOVED):
            if told.words != words or told.host != host.id or not told.is_current(now, REFRESHED):
                yield *place, host.key, _seen(words, host, now)
        elif told.words and not told.words.startswith(REMOVED):
            yield *place, host.key, f"{REMOVED} {now:{_TIME}}"
        for key in _former(found, host, now):
            yield *place, key, f"{REMOVED} {now:{_TIME}}: that host is {host.key} now"


def _former(found: Version, host: Host, now: datetime) -> Iterator[str]:
    """Yield this host's tags under another name. A copy of this machine has the same id, and keeps its own tag up."""
    for key, value in found.tags.items():
        if key.startswith(PREFIX) and key != host.key and host.id:
            told = told_by(value)
            if told.host == host.id and not told.is_current(now, OLD):
                yield key


def told_by(value: str) -> Told:
    """Take a tag's value apart."""
    end = _SUFFIX.search(value)
    if end is None:
        return Told(value)
    try:
        seen = datetime.strptime(end["seen"], _SEEN).replace(tzinfo=UTC)
    except ValueError:  # the 45th of some month
        seen = None
    return Told(value[: end.start()], seen, end["host"] or "")


def _seen(words: str, host: Host, now: datetime) -> str:
    return f"{words} (seen {now:{_SEEN}}{f', host {host.id}' if host.id else ''})"


def value_of(deployment: DeploymentStatus) -> str:
    """Say in one short text how a deployment fares."""
    since = f"{deployment.since.astimezone(UTC):{_TIME}}"
    if deployment.state in (State.SERVING, State.IDLE):
        return one_line(" ".join(filter(None, (deployment.state, since, deployment.url))), MAX_VALUE)
    words = f"{deployment.state}: {deployment.message}" if deployment.message else f"{deployment.state} {since}"
    return one_line(words, MAX_VALUE)


def _number(version: str | None) -> int | None:
    return int(version) if version and version.isascii() and version.isdecimal() and len(version) <= 10 else None
