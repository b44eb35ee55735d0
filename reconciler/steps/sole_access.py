"""Tells whether only its owner can change a directory: by its modes, by second names, by files that are open.

A directory changes hands when systemd gives it to the user of the next step. The user before may have kept a way in: an
open file, a second name of one, a mode that lets everybody write.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from pathlib import Path

OTHERS_MAY_WRITE = 0o022
_NO_LEASES = (errno.EINVAL, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)


def why_not_alone(root: Path) -> str | None:
    """Say who else could change something at or below a directory; None when nobody could, or there is no directory.

    Call it as the owner. The answer holds as long as the owner lets nobody else in.
    """
    try:
        top = root.lstat()
    except FileNotFoundError:
        return None
    for path, status in ((str(root), top), *_below(str(root))):
        shown = os.path.relpath(path, root.parent)
        # An owner can always let himself in again, so one other owner is enough.
        if status.st_uid != os.geteuid():
            return f"belongs to more than one user ({shown!r})"
        if stat.S_ISLNK(status.st_mode):
            continue  # nobody writes to one, and another name for it changes nothing
        if status.st_mode & OTHERS_MAY_WRITE:
            return f"can be changed by others than its owner ({shown!r})"
        if not stat.S_ISREG(status.st_mode):
            continue
        # The other name may be in a directory that is not looked at.
        if status.st_nlink > 1:
            return f"has a file with a second name elsewhere ({shown!r})"
        if _is_open_for_writing(path):
            return f"has a file that somebody has open for writing ({shown!r})"
    return None


def shut_out(root: Path) -> None:
    """Let nobody but the owner write to a directory and what is below it: installers leave locks that all may."""
    for path, status in ((str(root), root.lstat()), *_below(str(root))):
        if stat.S_ISLNK(status.st_mode):
            continue
        if status.st_mode & OTHERS_MAY_WRITE:
            Path(path).chmod(stat.S_IMODE(status.st_mode) & ~OTHERS_MAY_WRITE)


def knows_leases(path: Path) -> bool:
    """Tell whether the file system can say that a file is open for writing; where it cannot, no writer is seen."""
    return _lease(str(path)) not in _NO_LEASES


def _below(root: str) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(root) as entries:
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            yield entry.path, status
            if stat.S_ISDIR(status.st_mode):
                yield from _below(entry.path)


def _is_open_for_writing(path: str) -> bool:
    return _lease(path) == errno.EAGAIN


def _lease(path: str) -> int:
    """Ask for a read lease and give it back; return the errno, 0 when it was given.

    The kernel refuses a lease as long as a writable descriptor, or a writable mapping of one, is left anywhere.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        if error.errno not in (errno.EAGAIN, *_NO_LEASES):
            raise
        return error.errno or 0
    finally:
        os.close(descriptor)
    return 0
