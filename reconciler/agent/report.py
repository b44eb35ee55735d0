"""Tells the registry how its models fare on this host, with tags `deployed.<host>` on their versions."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import structlog

from reconciler.agent.pause import Pause
from reconciler.core.registry.host_tags import REFRESHED, Host, due, host_id, tag_key
from reconciler.core.registry.reading import RegistryReading, Version
from reconciler.core.registry.tag_words import Place, wanted_words
from reconciler.files.status_file import NoStatusError, read_status
from reconciler.ports.registry import Registry, RegistryError

MAX_TAGS_A_POLL = 20
"""Tags that are set in one poll at most: a registry full of wrong tags must not keep the agent from reading it."""
MACHINE_ID = Path("/etc/machine-id")

log = structlog.get_logger()


@dataclass
class _Asked:
    """When the registry was last asked for this host's tags, and what they were to say at that time."""

    at: datetime | None = None
    places: frozenset[Place] = field(default_factory=frozenset)
    unread: Mapping[Place, str] = field(default_factory=dict)
    """The words for versions that the reading does not have."""


class Reporter:
    """Compares the status with the tags in the registry. The registry is its only memory: a restart loses nothing."""

    def __init__(
        self, status: Path, monotonic: Callable[[], float] = time.monotonic, machine_id: Path = MACHINE_ID
    ) -> None:
        """Report what `status` says; `monotonic` measures the pause after a failure."""
        self._status = status
        self._pause = Pause(monotonic)
        self._id = _own_id(machine_id)
        self._asked = _Asked()
        self.host: Host | None = None
        """Under which tag this host reports; None before the first status, whose host name it is."""

    def report(self, reading: RegistryReading, registry: Registry, refused: Mapping[Place, str] | None = None) -> None:
        """Set the tags that are wrong or missing. A failure is logged and tried again after a pause that doubles.

        `refused`: the selected versions that no host can deploy, and why.
        """
        if self._pause.is_on:
            return
        try:
            status = read_status(self._status)
        except NoStatusError:
            return  # the reconciler has not written a status since boot; the last tags stand
        self.host = host = Host(tag_key(status.host), self._id)
        now = datetime.now(UTC)
        refused = refused or {}
        try:
            versions = self._versions(reading, registry, host, wanted_words(status), refused, now)
        except RegistryError as error:
            self._note_failure(error)
            return
        # One more than are set, to see whether any are left.
        tags = [*islice(due(status, versions, host, now, refused), MAX_TAGS_A_POLL + 1)]
        for name, version, key, value in tags[:MAX_TAGS_A_POLL]:
            try:
                registry.report(name, version, key, value)
            except RegistryError as error:
                self._note_failure(error, MODEL=name, MODEL_VERSION=version)
                return
        if len(tags) > MAX_TAGS_A_POLL:
            self._asked = _Asked()  # the next poll goes on
        self._pause.forget()

    def _versions(
        self,
        reading: RegistryReading,
        registry: Registry,
        host: Host,
        wanted: Mapping[Place, str],
        refused: Mapping[Place, str],
        now: datetime,
    ) -> Collection[Version]:
        """Find the versions whose tags are known and may have to be set. Raises RegistryError.

        The reading has no versions that are no longer selected, whose tags may still name this host, and none that only
        the alias of an impossible name names. `wanted`: what the status says of the others.
        """
        known = {Place(version.name, version.version): version for version in reading.versions}
        words = {**wanted, **refused}
        asked = _Asked(now, frozenset(words), {place: said for place, said in words.items() if place not in known})
        if not self._is_due(asked):
            return known.values()
        tagged = registry.tagged_versions(host.key)
        self._asked = asked
        # What has no tag of this host was not found.
        without = {place: Version(*place) for place in refused}
        # Refused ones last: of a thousand impossible names, none comes before a good model's tag.
        found = known | {Place(version.name, version.version): version for version in tagged}
        return [*found.values(), *(version for place, version in without.items() if place not in found)]

    def _is_due(self, now: _Asked) -> bool:
        """Whether the registry must be asked for all versions with this host's tag, which costs a request."""
        before = self._asked
        if before.at is None or now.at is None or now.at - before.at >= REFRESHED:
            return True
        return (now.places, now.unread) != (before.places, before.unread)

    def _note_failure(self, error: RegistryError, **about: object) -> None:
        self._asked = _Asked()
        pause = self._pause.begin()
        log.warning(f"cannot report back to the registry: {error}; trying again in {pause:.0f} s", **about)


def _own_id(machine_id: Path) -> str:
    try:
        return host_id(machine_id.read_bytes())
    except OSError:
        return ""  # the tags are known by the host's name alone then
