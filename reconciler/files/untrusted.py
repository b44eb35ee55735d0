"""Reads files only if they are plain, of the expected owner and size: those of less trusted users, and our own."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path


class UnacceptableFileError(Exception):
    """A file is not as expected; the message says what is wrong with it."""


class MissingFileError(UnacceptableFileError):
    """There is no such file."""


@dataclass(frozen=True)
class ForeignFile:
    """What was read, and when it was last touched (seconds since the epoch)."""

    content: bytes
    touched: float


def read_foreign_file(path: Path, owner: int, limit: int) -> ForeignFile:
    """Read `path` if it is a regular file with no second name, owned by user `owner`, of at most `limit` bytes.

    Opening neither follows a symlink nor waits for a FIFO's writer. Raises UnacceptableFileError.
    """
    descriptor = _open(path)
    try:
        # All checks are of the open file: its name may lead to another one by now.
        about = _checked(path, descriptor, owner, limit)
        if about.st_mode & 0o022:
            raise UnacceptableFileError(f"{path}: others may write to it")
        if about.st_nlink > 1:  # 0 is one that was replaced since it was opened
            raise UnacceptableFileError(f"{path}: it has {about.st_nlink} names")
        return ForeignFile(_content(path, descriptor, limit), about.st_mtime)
    finally:
        os.close(descriptor)


def owner_of(directory: Path) -> int:
    """Return the user to whom a directory belongs, and so what is written in it; root's number where there is none.

    Only for directories whose parent is root's, such as /run: then root has given it to that user.
    """
    try:
        return directory.lstat().st_uid
    except OSError:
        return 0


def read_own_file(path: Path, limit: int) -> bytes:
    """Read what we wrote, in a directory of our own, if it is still a regular file of ours of at most `limit` bytes.

    Somebody may have put anything in its place: reading it waits for nobody and ends. Raises UnacceptableFileError, of
    which MissingFileError where there is nothing.
    """
    descriptor = _open(path)
    try:
        _checked(path, descriptor, os.geteuid(), limit)
        return _content(path, descriptor, limit)
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        kind = MissingFileError if isinstance(error, FileNotFoundError) else UnacceptableFileError
        raise kind(f"{path}: {error.strerror}") from error


def _checked(path: Path, descriptor: int, owner: int, limit: int) -> os.stat_result:
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):
        raise UnacceptableFileError(f"{path}: not a regular file")
    if about.st_uid != owner:
        raise UnacceptableFileError(f"{path}: owned by user {about.st_uid}, expected {owner}")
    if about.st_size > limit:
        raise UnacceptableFileError(f"{path}: {about.st_size} bytes, at most {limit} are read")
    return about


def _content(path: Path, descriptor: int, limit: int) -> bytes:
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise UnacceptableFileError(f"{path}: it grew beyond {limit} bytes")
    return content
