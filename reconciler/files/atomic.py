"""Replaces files as a whole: after an interruption there is either the old or the new one."""

import errno
import os
import shutil
import stat
from pathlib import Path

_MENDS = {
    errno.ENOSPC: "make room there",
    errno.EDQUOT: "make room there",
    errno.EROFS: "mount it writable",
    errno.EIO: "look at the disk, see journalctl -k",
}


def in_words(error: Exception) -> str:
    """Say what went wrong, where, and what to do about it. Only an OSError needs that: others have a message."""
    if not isinstance(error, OSError):
        return str(error)
    where = f"{error.filename}: " if error.filename else ""
    why = error.strerror or error
    mend = _MENDS.get(error.errno or 0)
    return f"{where}{why}; {mend}" if mend else f"{where}{why}"


def unfinished(path: Path) -> Path:
    """Where the new content of `path` is while it is being written; only an interruption leaves it there."""
    return path.with_name(f".{path.name}.new")


def replace_file(path: Path, content: bytes, mode: int) -> None:
    """Write `content` beside `path`, make it durable, and put it in the place of `path`, in a directory of our own.

    Only a directory cannot be replaced; it is put aside. An OSError names `path`, also where the system knew only a
    descriptor.
    """
    try:
        _replace_file(path, content, mode)
    except OSError as error:
        raise _named(error, path) from error


def _replace_file(path: Path, content: bytes, mode: int) -> None:
    temporary = unfinished(path)
    clear(temporary)  # O_EXCL below: nothing that somebody put there is written to
    if is_directory(path):
        put_aside(path)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)  # a full disk needs the room
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make a change of names in a directory durable."""
    # A rename is on the disk only when its directory is.
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise _named(error, directory) from error
    finally:
        os.close(descriptor)


def is_directory(path: Path) -> bool:
    """Whether a directory is there itself: where a link leads may be closed to us."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def clear(path: Path) -> None:
    """Remove a file, a link or a whole directory, if there is one, in a directory of our own. Raises OSError."""
    if is_directory(path):
        path.chmod(0o700)  # root without capabilities heeds modes, too
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def put_aside(path: Path) -> Path:
    """Move what cannot be used out of the way, for people to look at, and give its new name. Raises OSError.

    Only the latest is kept.
    """
    aside = path.with_name(f"{path.name}.unusable")
    clear(aside)
    path.replace(aside)
    return aside


def _named(error: OSError, path: Path) -> OSError:
    """The same error, about `path`."""
    return OSError(error.errno, error.strerror, str(path)) if error.errno else error
