"""Puts a file of metrics into the directory of node_exporter, which root alone may write to."""

import contextlib
import os
import stat
from pathlib import Path

from reconciler.files.atomic import unfinished


class MetricsDirectoryError(Exception):
    """The directory is none that root may write into; the message says why."""


def write_metrics(path: Path, text: str) -> None:
    """Replace the file as a whole; it need not outlive a crash. Raises OSError and MetricsDirectoryError.

    The directory above may be another user's, who could put a link in the place of this one: it is opened once, looked
    at, and everything else is done in what was opened.
    """
    directory = _open_directory(path.parent)
    new = unfinished(path).name
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new, dir_fd=directory)  # an interrupted write left it
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(new, flags, 0o644, dir_fd=directory)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                os.fchmod(descriptor, 0o644)  # whatever the umask: node_exporter is another user
                file.write(text)
            os.rename(new, path.name, src_dir_fd=directory, dst_dir_fd=directory)
        except OSError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(new, dir_fd=directory)  # a full disk needs the room
            raise
    finally:
        os.close(directory)


def remove_metrics(path: Path) -> None:
    """Remove the file: nobody should go by metrics that are not written any more. Raises as `write_metrics` does."""
    directory = _open_directory(path.parent)
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path.name, dir_fd=directory)
    finally:
        os.close(directory)


def _open_directory(path: Path) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    about = os.fstat(descriptor)
    if about.st_uid == os.geteuid() and not about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return descriptor
    os.close(descriptor)
    raise MetricsDirectoryError(f"{path}: others than root may write to it; name a directory of root's")
