"""Whether a program that the host names is one that nobody but root can change."""

import os
import shlex
import stat
from pathlib import Path

_CORRECT = "correct fetch.verify_command"


def why_not_roots(program: str) -> tuple[str, str] | None:
    """Say why it is no program that root alone can change, and what to do; None when it is one."""
    if not program.startswith("/"):
        return "is no absolute path", _CORRECT
    try:
        real = os.path.realpath(program, strict=True)
        status = Path(real).stat()
        if not stat.S_ISREG(status.st_mode) or not status.st_mode & 0o111:
            return "is not a program", _CORRECT
        # A name in a directory of others leads where they like; in a sticky one root's own names stay as they are.
        chain = {Path(real), *Path(real).parents, *Path(os.path.normpath(program)).parents}
        for path in sorted(chain):
            status = path.stat()
            sticky = stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
            if status.st_uid != 0 or (status.st_mode & 0o022 and not sticky):
                name = shlex.quote(str(path))
                return f"can be changed by others than root, at {path}", f"chown root {name} && chmod go-w {name}"
    except OSError as error:
        return f"cannot be run: {error.strerror}", f"install it, or {_CORRECT}"
    return None
