"""Reads a file that somebody less trusted wrote: only a plain file of the expected owner and size."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path


class UnacceptableFileError(Exception):
    """A file that is not what it should be; the message says what is wrong with it."""


@dataclass(frozen=True)
class ForeignFile:
    """What was read, and when it was last touched (seconds since the epoch)."""

    content: bytes
    touched: float


def read_foreign_file(path: Path, owner: int, limit: int) -> ForeignFile:
    """Read `path` if it is a regular file with no second name, owned by user `owner`, of at most `limit` bytes.

    Opening neither follows a symlink nor waits for a FIFO's writer. Raises UnacceptableFileError.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise UnacceptableFileError(f"{path}: {error.strerror}") from error
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise UnacceptableFileError(f"{path}: not a regular file")
        if about.st_uid != owner:
            raise UnacceptableFileError(f"{path}: owned by user {about.st_uid}, expected {owner}")
        if about.st_mode & 0o022:
            raise UnacceptableFileError(f"{path}: others may write to it")
        if about.st_nlink > 1:  # 0 is one that was replaced since it was opened
            raise UnacceptableFileError(f"{path}: it has {about.st_nlink} names")
        if about.st_size > limit:
            raise UnacceptableFileError(f"{path}: {about.st_size} bytes, at most {limit} are read")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            content = file.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(content) > limit:
        raise UnacceptableFileError(f"{path}: it grew beyond {limit} bytes")
    return ForeignFile(content, about.st_mtime)
