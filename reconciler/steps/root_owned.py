"""Tells whether nobody but root can change a file, such as a program that the host's settings name."""

import os
import shlex
import stat
from pathlib import Path

_CORRECT = "correct fetch.verify_command"


def why_not_roots(program: str) -> tuple[str, str] | None:
    """Say why a path is no program that only root can change, and what mends it; None when it is one."""
    if not program.startswith("/"):
        return "is no absolute path", _CORRECT
    try:
        real = os.path.realpath(program, strict=True)
        status = Path(real).stat()
        if not stat.S_ISREG(status.st_mode) or not status.st_mode & 0o111:
            return "is not a program", _CORRECT
        changeable = others_can_change(program)
        if changeable:
            name = shlex.quote(changeable)
            return f"can be changed by others than root, at {changeable}", f"chown root {name} && chmod go-w {name}"
    except OSError as error:
        return f"cannot be run: {error.strerror}", f"install it, or {_CORRECT}"
    return None


def others_can_change(path: str) -> str | None:
    """Name the first of a path, what it leads to and their directories that others than root can change.

    Raises OSError.
    """
    real = os.path.realpath(path, strict=True)
    # A name in a directory of others leads where they like; in a sticky one root's own names stay as they are.
    chain = {Path(real), *Path(real).parents, *Path(os.path.normpath(path)).parents}
    return next((str(link) for link in sorted(chain) if is_open(link.stat(), sticky_is_closed=True)), None)


def is_open(status: os.stat_result, *, sticky_is_closed: bool = False) -> bool:
    """Whether others than root can change what is there; a link itself never."""
    if status.st_uid != 0:
        return True
    if stat.S_ISLNK(status.st_mode):
        return False  # its mode means nothing
    is_sticky_directory = stat.S_ISDIR(status.st_mode) and bool(status.st_mode & stat.S_ISVTX)
    if is_sticky_directory and sticky_is_closed:
        return False
    return bool(status.st_mode & 0o022)
