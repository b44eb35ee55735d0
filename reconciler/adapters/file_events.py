"""File events through watchdog. An event only wakes the reconciler, which reads everything again."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog
from watchdog.events import (
    EVENT_TYPE_CREATED,
    EVENT_TYPE_DELETED,
    EVENT_TYPE_MODIFIED,
    EVENT_TYPE_MOVED,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import ObservedWatch

log = structlog.get_logger()

# Opening and closing for reading are events too: acting on those, a reader would wake itself for ever.
_CHANGES = frozenset({EVENT_TYPE_CREATED, EVENT_TYPE_DELETED, EVENT_TYPE_MOVED, EVENT_TYPE_MODIFIED})
_REPLACEMENTS = _CHANGES - {EVENT_TYPE_MODIFIED}


class _Handler(FileSystemEventHandler):
    def __init__(self, kinds: frozenset[str], wake: Callable[[], None]) -> None:
        self._kinds = kinds
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        # A directory is modified whenever a file in it is, which has an event of its own.
        is_repetition = event.is_directory and event.event_type == EVENT_TYPE_MODIFIED
        if event.event_type in self._kinds and not is_repetition:
            self._wake()


@dataclass
class _Watched:
    directory: Path
    handler: _Handler
    recursive: bool
    identity: tuple[int, int] | None = None
    """Device and inode of the watched directory: one that was made anew at its path is another."""
    watch: ObservedWatch | None = None


class FileEvents:
    """Watches directories until it is closed."""

    def __init__(self) -> None:
        self._observer = Observer()
        self._watched: list[_Watched] = []

    def start(self) -> None:
        """Begin to deliver, from a thread. Raises OSError where the kernel has no more watches to give."""
        self._observer.start()

    def close(self) -> None:
        """Stop delivering."""
        if self._observer.is_alive():
            self._observer.stop()
            self._observer.join()

    def on_change(self, directory: Path, wake: Callable[[], None], recursive: bool = False) -> None:
        """Call `wake` when something below `directory` is created, changed, moved or deleted."""
        self._watch(directory, _CHANGES, wake, recursive)

    def on_replacement(self, directory: Path, wake: Callable[[], None]) -> None:
        """Call `wake` when a file is put in place or taken away; a new mtime alone is freshness and wakes nobody."""
        self._watch(directory, _REPLACEMENTS, wake, recursive=False)

    def refresh(self) -> None:
        """Watch directories that were made, or made anew, since the last call: a watch ends with its directory."""
        for watched in self._watched:
            identity = _identity(watched.directory)
            if identity == watched.identity:
                continue
            if watched.watch is not None:
                self._observer.unschedule(watched.watch)
            watched.watch, watched.identity = None, identity
            if identity is not None:
                self._begin_to_watch(watched)

    def _begin_to_watch(self, watched: _Watched) -> None:
        directory = watched.directory
        try:
            watched.watch = self._observer.schedule(watched.handler, str(directory), recursive=watched.recursive)
        except OSError as error:  # the kernel has no more watches to give
            log.warning(f"cannot watch {directory}: {error.strerror}; changes are noticed by the timer instead")

    def _watch(self, directory: Path, kinds: frozenset[str], wake: Callable[[], None], recursive: bool) -> None:
        self._watched.append(_Watched(directory, _Handler(kinds, wake), recursive))
        self.refresh()


def _identity(directory: Path) -> tuple[int, int] | None:
    try:
        about = directory.stat()
    except OSError:
        return None
    return (about.st_dev, about.st_ino) if directory.is_dir() else None
