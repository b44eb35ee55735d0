"""Tells the registry what this host can do for a model, so that it is known before anything is promoted."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog

from reconciler.agent.pause import Pause
from reconciler.core.registry.host_abilities import EXPERIMENT, Abilities, host_key, is_current, written
from reconciler.core.registry.host_tags import REFRESHED, Host
from reconciler.files.installed_pythons import PLACES, installed_pythons
from reconciler.ports.registry import Registry, RegistryError
from reconciler.settings.model import Settings

log = structlog.get_logger()


def abilities_of(settings: Settings) -> Abilities:
    """Gather what this host can do; `installed_pythons` lists two directories for it."""
    return Abilities(
        pythons=installed_pythons(PLACES),
        downloads_pythons=settings.build.pythons == "managed",
        selectors=settings.registry.source.selectors,
        names=settings.policy.names,
        tags=settings.policy.tags,
        require_example=settings.policy.require_example,
        require_hashes=settings.build.require_hashes,
        allow_source=settings.build.allow_source,
        max_size=settings.fetch.max_size,
        memory_max=settings.deploy.memory_max,
        start_timeout=settings.deploy.start_timeout,
        public_url=settings.deploy.public_url,
    )


class AbilitiesTeller:
    """Writes this host's document when it says something else, and confirms it once an hour.

    The registry is asked only then: what somebody else makes of the document is mended within the hour.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time) -> None:
        """Nothing is told yet; `monotonic` measures pauses, and `wall` gives the seconds since 1970."""
        self._pause = Pause(monotonic)
        self._wall = wall
        self._told: Abilities | None = None
        self._told_at: datetime | None = None
        self._gathered: tuple[object, Abilities] | None = None

    def tell(self, settings: Settings, host: Host, registry: Registry) -> None:
        """Bring the document of this host up to date, if it is time. A failure is logged."""
        if self._pause.is_on:
            return
        abilities, now = self._gather(settings), datetime.fromtimestamp(self._wall(), UTC)
        is_fresh = self._told_at is not None and now - self._told_at < REFRESHED
        if is_fresh and self._told == abilities:
            return
        try:
            key = host_key(host)
            there = registry.experiment_tags(EXPERIMENT)
            if not is_current(there.get(key, ""), abilities, host, now, REFRESHED):
                registry.tag_experiment(EXPERIMENT, key, written(abilities, host, now))
        except RegistryError as error:
            pause = self._pause.begin()
            log.warning(f"cannot tell the registry what this host can do: {error}; trying again in {pause:.0f} s")
            return
        self._pause.forget()
        self._told, self._told_at = abilities, now

    def _gather(self, settings: Settings) -> Abilities:
        """Gather anew if the settings or the directories of Pythons have changed: polls are many."""
        stamp = (settings, [_changed(place) for place in PLACES])
        if self._gathered is None or self._gathered[0] != stamp:
            self._gathered = (stamp, abilities_of(settings))
        return self._gathered[1]


def _changed(place: str) -> int:
    try:
        return Path(place).stat().st_mtime_ns
    except OSError:
        return 0
