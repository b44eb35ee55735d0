"""A disk that refuses some writes: what the reconciler does then."""

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

from reconciler.files import atomic


@contextlib.contextmanager
def refusing(refuses: Callable[[Path], bool], number: int = errno.ENOSPC) -> Iterator[list[Path]]:
    """Have the writes to paths of which `refuses` is true fail as on a full disk; gives what was refused.

    As the system does where only a descriptor is known, the error names no file.
    """
    write, refused = atomic._replace_file, []

    def attempt(path: Path, content: bytes, mode: int) -> None:
        if refuses(path):
            refused.append(path)
            raise OSError(number, os.strerror(number))
        write(path, content, mode)

    with mock.patch.object(atomic, "_replace_file", attempt):
        yield refused
