"""Directories of a release on disk: listed without following anything, digested, made durable as a whole."""

import errno
import os
import shutil
import subprocess
from pathlib import Path

from reconciler.steps.check_files import OddFileError, sha256_of, walk
from reconciler.steps.step_report import StepError

__all__ = ["free_bytes", "regular_files", "remove", "sha256_of", "sync_below"]


def regular_files(root: Path) -> dict[str, int]:
    """Map every file below `root`, as a relative path, to its size in bytes.

    Raises StepError when there is anything but regular files and directories.
    """
    try:
        return {path: status.st_size for path, status in walk(str(root), links=False)}
    except OddFileError as odd:
        raise StepError(f"cannot use the model's files: {odd}; log the model again without it") from odd


def sync_below(path: Path) -> None:
    """Make everything that was written to the file system of `path` durable, with one call for any number of files."""
    done = subprocess.run(  # noqa: S603 - a fixed command on our path
        ["/usr/bin/sync", "--file-system", str(path)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise OSError(errno.EIO, f"cannot be made durable: {done.stderr.strip()}", str(path))


def remove(path: Path) -> None:
    """Remove a directory or a file if it is there."""
    if path.is_dir() and not path.is_symlink():
        try:
            shutil.rmtree(path)
        except RecursionError:  # a package may bring more directories below one another than Python can follow
            subprocess.run(["/usr/bin/rm", "-rf", "--", str(path)], check=True)  # noqa: S603 - fixed, on our path
    else:
        path.unlink(missing_ok=True)


def free_bytes(path: Path) -> int:
    """Return how many bytes an unprivileged process may still write to the file system of `path`."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize
