"""What libraries compile while the model loads and answers its example: found again at the next start.

Libraries compile into a directory in memory, to which environment variables of the unit point (NUMBA_CACHE_DIR, …).
Before the server is ready, it packs that directory into one file. A unit outside of the sandbox keeps the file, and
shows it to later starts of the same release.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from modelserver.errors import one_line

TRIAL = "uses-what-was-compiled"
"""A file among the server's temporary ones."""
_FASTEST = 1
_READABLE = 0o644  # by the unit that keeps it, which runs as another user
_log = logging.getLogger("modelserver")


class CompileCache:
    """The directory that libraries compile into, and the files by which it outlives a process."""

    def __init__(self, directory: Path | None, kept: Path | None, keep: Path | None) -> None:
        """`directory`: None where nothing is kept. `kept`: what was kept of an earlier start; it may be missing.

        `keep`: where to put what is to be kept; None when another server of the release does that.
        """
        self._directory = directory
        self._kept = kept
        self._keep = keep
        # There from the first use of what was kept until the server is ready. Found at a start, it says that the start
        # before this one died with it, by a crash or a deadline. The unit's own cleaning of /tmp spares it.
        self._trial = Path(tempfile.gettempdir(), TRIAL) if kept else None
        self._restored: set[tuple[str, int]] = set()

    @property
    def was_restored(self) -> bool:
        """Whether this start uses what an earlier one compiled."""
        return bool(self._restored)

    def restore(self) -> None:
        """Fills the directory with what was kept. Call it before the model is loaded."""
        if self._directory is None or self._kept is None or self._trial is None or not self._kept.is_file():
            return
        if os.path.lexists(self._trial):
            _log.warning("the last start ended before it was ready; trying without what was compiled at an earlier one")
            return
        try:
            self._trial.touch()
            with zipfile.ZipFile(self._kept) as archive:
                archive.extractall(self._directory)  # of this release's own making, into its own memory
        except Exception as error:  # noqa: BLE001 - what is read may have been damaged anywhere: zlib has its own errors
            _log.warning("cannot use what was compiled at an earlier start: %s; compiling again", one_line(str(error)))
            self.clear()
        else:
            self._restored = _listing(self._directory)

    def clear(self) -> None:
        """Takes out everything: libraries compile again."""
        self._restored = set()
        self._end_trial()
        if self._directory is None:
            return
        # The directory itself is a mount point.
        for path in self._directory.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def offer(self) -> None:
        """Packs the directory for the unit that keeps it, if there is anything new. Call it before READY=1."""
        self._end_trial()
        if self._directory is None or self._keep is None:
            return
        part = self._keep.with_suffix(".part")
        try:
            # The model's threads may still write there: a file may go away while it is looked at.
            if _listing(self._directory) <= self._restored:
                return
            _pack(part, self._directory)
            part.chmod(_READABLE)
            part.replace(self._keep)
        except OSError as error:
            _log.warning("cannot keep what was compiled: %s; the next start compiles again", one_line(str(error)))
            part.unlink(missing_ok=True)

    def _end_trial(self) -> None:
        if self._trial is not None:
            self._trial.unlink(missing_ok=True)


def _pack(archive: Path, directory: Path) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=_FASTEST, strict_timestamps=False) as packed:
        for file in sorted(_plain_files(directory)):
            packed.write(file, file.relative_to(directory))


def _listing(directory: Path) -> set[tuple[str, int]]:
    """The files below a directory, with their sizes."""
    return {(str(file.relative_to(directory)), file.stat().st_size) for file in _plain_files(directory)}


def _plain_files(directory: Path) -> Iterator[Path]:
    for folder, _folders, names in os.walk(directory):
        for name in names:
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                yield path
