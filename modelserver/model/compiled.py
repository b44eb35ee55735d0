"""What libraries compile while the model loads and answers its example: found again at the next start.

Libraries compile into a directory in memory, to which environment variables of the unit point (NUMBA_CACHE_DIR, …).
Before the server is ready, it packs that directory into one file. A unit outside of the sandbox keeps the file, and
shows it to later starts of the same release.
"""

from __future__ import annotations

import logging
import os
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modelserver.errors import one_line

_FASTEST = 1
_READABLE = 0o644  # by the unit that keeps it, which runs as another user
_log = logging.getLogger("modelserver")


@dataclass(frozen=True)
class CompileCache:
    """The directory that libraries compile into, and the files by which it outlives a process."""

    directory: Path | None
    """None: nothing is kept."""
    kept: Path | None
    """What was kept of an earlier start; there may be nothing."""
    keep: Path | None
    """Where to put what is to be kept; None when another server of the release does that."""

    def restore(self) -> bool:
        """Fills the directory with what was kept; whether there was something. Call it before the model is loaded."""
        if self.directory is None or self.kept is None or not self.kept.is_file():
            return False
        try:
            with zipfile.ZipFile(self.kept) as archive:
                archive.extractall(self.directory)  # noqa: S202 - of this release's own making, into its own memory
        except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            _log.warning("cannot use what was compiled at an earlier start: %s; compiling again", one_line(str(error)))
            self._clear(self.directory)
            return False
        return True

    def offer(self) -> None:
        """Packs what is in the directory, if anything is, for the unit that keeps it. Call it before READY=1."""
        if self.directory is None or self.keep is None:
            return
        files = sorted(_plain_files(self.directory))
        if not files:
            return
        part = self.keep.with_suffix(".part")
        try:
            _pack(part, self.directory, files)
            part.chmod(_READABLE)
            part.replace(self.keep)
        except OSError as error:
            _log.warning("cannot keep what was compiled: %s; the next start compiles again", one_line(str(error)))
            part.unlink(missing_ok=True)

    @staticmethod
    def _clear(directory: Path) -> None:
        # The directory itself is a mount point.
        for path in directory.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _pack(archive: Path, directory: Path, files: list[Path]) -> None:
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=_FASTEST, strict_timestamps=False) as packed:
        for file in files:
            packed.write(file, file.relative_to(directory))


def _plain_files(directory: Path) -> Iterator[Path]:
    for folder, _folders, names in os.walk(directory):
        for name in names:
            path = Path(folder, name)
            if path.is_file() and not path.is_symlink():
                yield path
