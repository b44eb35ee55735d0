"""Directories of a release on disk: listed without following anything, digested, made durable as a whole."""

import errno
import hashlib
import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

from reconciler.release.outcome import StepError

_CHUNK = 1024 * 1024


def regular_files(root: Path) -> dict[str, int]:
    """Map every file below `root`, as a relative path, to its size in bytes.

    Raises StepError when there is anything but regular files and directories.
    """
    return dict(_walk(root, ""))


def _walk(root: Path, prefix: str) -> Iterator[tuple[str, int]]:
    with os.scandir(root / prefix) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = f"{prefix}{entry.name}"
            status = entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                yield from _walk(root, f"{path}/")
            elif stat.S_ISREG(status.st_mode):
                yield path, status.st_size
            else:
                kind = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "neither a file nor a directory"
                raise StepError(f"cannot use the model's files: {path!r} is {kind}; log the model again without it")


def sha256_of(path: Path) -> str:
    """Digest one file, without following a link in its last component."""
    digest = hashlib.sha256()
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


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
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def free_bytes(path: Path) -> int:
    """Return how many bytes an unprivileged process may still write to the file system of `path`."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize
