"""File events through watchdog, as nothing but a call: who is woken reads everything again."""

from collections.abc import Callable
from pathlib import Path

from watchdog.events import (
    EVENT_TYPE_CREATED,
    EVENT_TYPE_DELETED,
    EVENT_TYPE_MODIFIED,
    EVENT_TYPE_MOVED,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer

# Opening and closing for reading are events too: acting on those, a reader would wake itself for ever.
_CHANGES = frozenset({EVENT_TYPE_CREATED, EVENT_TYPE_DELETED, EVENT_TYPE_MOVED, EVENT_TYPE_MODIFIED})
_REPLACEMENTS = _CHANGES - {EVENT_TYPE_MODIFIED}


class _Handler(FileSystemEventHandler):
    def __init__(self, kinds: frozenset[str], wake: Callable[[], None]) -> None:
        self._kinds = kinds
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type in self._kinds and not (event.is_directory and event.event_type == EVENT_TYPE_MODIFIED):
            self._wake()


class FileEvents:
    """Watches directories until it is closed."""

    def __init__(self) -> None:
        self._observer = Observer()

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

    def _watch(self, directory: Path, kinds: frozenset[str], wake: Callable[[], None], recursive: bool) -> None:
        if directory.is_dir():
            self._observer.schedule(_Handler(kinds, wake), str(directory), recursive=recursive)
