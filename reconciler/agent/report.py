"""Tells the registry how its models fare on this host, with tags `deployed.<host>` on their versions."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import structlog

from reconciler.core.registry.host_tags import REFRESHED, Host, deployed, due, host_id, tag_key
from reconciler.core.registry.reading import RegistryReading, Version
from reconciler.core.state.status import Status
from reconciler.files.status_file import NoStatusError, read_status
from reconciler.ports.registry import Registry, RegistryError

MAX_TAGS_A_POLL = 20
"""Tags that are set in one poll at most: a registry full of wrong tags must not keep the agent from reading it."""
FIRST_PAUSE = 60.0
LONGEST_PAUSE = 3600.0
MACHINE_ID = Path("/etc/machine-id")

log = structlog.get_logger()


@dataclass
class _Asked:
    """When the registry was last asked for this host's tags, and what was deployed at that time."""

    at: datetime | None = None
    places: frozenset[tuple[str, int]] = field(default_factory=frozenset)


class Reporter:
    """Compares the status with the tags in the registry. The registry is its only memory: a restart loses nothing."""

    def __init__(
        self, status: Path, monotonic: Callable[[], float] = time.monotonic, machine_id: Path = MACHINE_ID
    ) -> None:
        """Report what `status` says; `monotonic` measures the pause after a failure."""
        self._status = status
        self._monotonic = monotonic
        self._id = _own_id(machine_id)
        self._pause = 0.0
        self._not_before = 0.0
        self._asked = _Asked()

    def report(self, reading: RegistryReading, registry: Registry) -> None:
        """Set the tags that are wrong or missing. A failure is logged and tried again after a pause that doubles."""
        if self._monotonic() < self._not_before:
            return
        try:
            status = read_status(self._status)
        except NoStatusError:
            return  # the reconciler has not written a status since boot; the last tags stand
        host = Host(tag_key(status.host), self._id)
        now = datetime.now(UTC)
        try:
            versions = [*reading.versions, *self._tagged_versions(status, registry, host, now)]
        except RegistryError as error:
            self._note_failure(error)
            return
        by_place = {(version.name, version.version): version for version in versions}
        # One more than are set, to see whether any are left.
        tags = [*islice(due(status, by_place.values(), host, now), MAX_TAGS_A_POLL + 1)]
        for name, version, key, value in tags[:MAX_TAGS_A_POLL]:
            try:
                registry.report(name, version, key, value)
            except RegistryError as error:
                self._note_failure(error, MODEL=name, MODEL_VERSION=version)
                return
        if len(tags) > MAX_TAGS_A_POLL:
            self._asked = _Asked()  # the next poll goes on
        self._pause = 0.0

    def _tagged_versions(self, status: Status, registry: Registry, host: Host, now: datetime) -> tuple[Version, ...]:
        """Find all versions with this host's tag if they must be looked at. Raises RegistryError.

        The reading has no versions that are no longer selected, and their tags may still name this host.
        """
        if not self._is_due(status, now):
            return ()
        tagged = registry.tagged_versions(host.key)
        self._asked = _Asked(now, frozenset(deployed(status)))
        return tagged

    def _is_due(self, status: Status, now: datetime) -> bool:
        """Whether the registry must be asked for all versions with this host's tag, which costs a request."""
        asked = self._asked
        if asked.at is None:
            return True
        has_changed = frozenset(deployed(status)) != asked.places
        return has_changed or now - asked.at >= REFRESHED

    def _note_failure(self, error: RegistryError, **about: object) -> None:
        self._asked = _Asked()
        self._pause = min(max(FIRST_PAUSE, 2 * self._pause), LONGEST_PAUSE)
        self._not_before = self._monotonic() + self._pause
        log.warning(f"cannot report back to the registry: {error}; trying again in {self._pause:.0f} s", **about)


def _own_id(machine_id: Path) -> str:
    try:
        return host_id(machine_id.read_bytes())
    except OSError:
        return ""  # the tags are known by the host's name alone then
