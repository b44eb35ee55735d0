"""Keeps what a server compiled before it was ready: one file, copied as it is, for its later starts.

The file is the model's: it may be anything, and change while it is read. It is not looked into.
"""

import os
import stat
from pathlib import Path

from reconciler.core.text.sizes import human_size
from reconciler.files.atomic import unfinished
from reconciler.steps.step_report import StepError
from reconciler.steps.tree import free_bytes

LEAST_FREE = 1024**3
"""Bytes that stay free on the file system of the host's caches."""
READABLE = 0o444
_PIECE = 1024**2
_REMEDY = "the model serves, and compiles again at each start"


def keep(source: Path, directory: Path, most: int) -> str:
    """Copy the file `source` into `directory` under its name; return what was done, in words. Raises StepError.

    It is there as a whole or not at all, has at most `most` bytes, and 1 GiB of the file system stays free.
    """
    target = directory / source.name
    part = unfinished(target)
    # What an interruption left; nobody else may write here.
    part.unlink(missing_ok=True)
    try:
        size = _copy(source, part, most)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return f"kept {human_size(size)} that the model compiled: its next start is faster"


def _copy(source: Path, part: Path, most: int) -> int:
    with os.fdopen(_open_plain(source), "rb") as file, part.open("xb") as copy:
        size = 0
        # The model may write to it meanwhile. A file of any length takes no room in memory while nothing is in it.
        while piece := file.read(_PIECE):
            if size + len(piece) > most:
                raise StepError(
                    f"cannot keep what the model compiled: it is more than {human_size(most)}, the size of the model's "
                    f"temporary files; {_REMEDY}"
                )
            if free_bytes(part.parent) < LEAST_FREE + len(piece):
                needed = human_size(LEAST_FREE)
                raise StepError(
                    f"cannot keep what the model compiled: less than {needed} would stay free below /var/cache; "
                    f"{_REMEDY}; make room there, then run: reconciler rollout NAME"
                )
            copy.write(piece)
            size += len(piece)
        copy.flush()
        os.fchmod(copy.fileno(), READABLE)
        os.fsync(copy.fileno())
    return size


def _open_plain(path: Path) -> int:
    """Open what may have become a link, a directory, or a FIFO that nobody writes to. Raises StepError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise StepError(f"cannot keep what the model compiled: {error.strerror}; {_REMEDY}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StepError(f"cannot keep what the model compiled: it is no plain file; {_REMEDY}")
    return descriptor
