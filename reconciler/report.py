"""Tells the registry how its models fare on this host, with tags `deployed.<host>` on their versions."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import structlog

from reconciler.core import quote
from reconciler.core.quote import one_line
from reconciler.core.select import RegistryReading
from reconciler.core.status import DeploymentStatus, State, Status
from reconciler.ports.registry import Registry, RegistryError
from reconciler.status_file import NoStatusError, read_status

PREFIX = "deployed."
MAX_VALUE = 500
REMOVED = "removed"
FIRST_PAUSE = 60.0
LONGEST_PAUSE = 3600.0
_TIME = "%Y-%m-%dT%H:%M:%SZ"

log = structlog.get_logger()


class Reporter:
    """Compares the status with the tags that the last reading found, so that nothing need be remembered."""

    def __init__(self, status: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Report what `status` says; `monotonic` measures the pause after a failure."""
        self._status = status
        self._monotonic = monotonic
        self._pause = 0.0
        self._not_before = 0.0

    def report(self, reading: RegistryReading, registry: Registry) -> None:
        """Set the tags that are not as they should be; a failure is logged and tried again after a pause."""
        if self._monotonic() < self._not_before:
            return
        try:
            status = read_status(self._status)
        except NoStatusError:
            return  # the reconciler has not spoken since boot; the last tags stand
        key = tag_key(status.host)
        for name, version, value in due(status, reading, key, datetime.now(UTC)):
            try:
                registry.report(name, version, key, value)
            except RegistryError as error:
                self._pause = min(max(FIRST_PAUSE, 2 * self._pause), LONGEST_PAUSE)
                self._not_before = self._monotonic() + self._pause
                line = f"cannot report back to the registry: {error}; trying again in {self._pause:.0f} s"
                log.warning(line, MODEL=name, MODEL_VERSION=version)
                return
        self._pause = 0.0


def tag_key(host: str) -> str:
    """Name the tag of a host in the characters and length that MLflow allows."""
    return quote.tag_key(PREFIX, host)


def due(status: Status, reading: RegistryReading, key: str, now: datetime) -> Iterator[tuple[str, int, str]]:
    """Yield (model, version, value) for every tag that is not as the status asks for."""
    wanted: dict[tuple[str, int], str] = {}
    active: set[tuple[str, int]] = set()
    for deployment in status.deployments:
        if (version := _number(deployment.desired_version)) is not None:
            wanted[deployment.name, version] = value_of(deployment)
        if (version := _number(deployment.active_version)) is not None:
            active.add((deployment.name, version))
    for found in reading.versions:
        place, told = (found.name, found.version), found.tags.get(key, "")
        if place in wanted:
            if told != wanted[place]:
                yield *place, wanted[place]
        elif told and not told.startswith(REMOVED) and place not in active:
            yield *place, f"{REMOVED} {now:{_TIME}}"


def value_of(deployment: DeploymentStatus) -> str:
    """Say in one short text how a deployment fares."""
    since = f"{deployment.since.astimezone(UTC):{_TIME}}"
    if deployment.state in (State.SERVING, State.IDLE):
        return one_line(" ".join(filter(None, (deployment.state, since, deployment.url))), MAX_VALUE)
    words = f"{deployment.state}: {deployment.message}" if deployment.message else f"{deployment.state} {since}"
    return one_line(words, MAX_VALUE)


def _number(version: str | None) -> int | None:
    return int(version) if version and version.isascii() and version.isdecimal() and len(version) <= 10 else None
