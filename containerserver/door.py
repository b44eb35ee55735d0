"""Opens the unix socket that a container listens on, from outside of the container.

The container has no writable directory of the host, so the socket is in the container's own memory. Its path is walked
from the container's root without following a link: a link of the container's would be one of the host, such as to the
engine's own socket.
"""

import os
import stat
from pathlib import PurePosixPath


class NoDoorError(Exception):
    """There is no such socket yet, or no more."""


class Root:
    """The root directory of a container, held open: a later process with the same number has another one."""

    def __init__(self, pid: int) -> None:
        """Open it; `pid`: of the container's first process. Raises NoDoorError."""
        try:
            self.descriptor = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY)
        except OSError as error:
            raise NoDoorError(f"no process {pid}: {error.strerror}") from None

    def close(self) -> None:
        """Let go of it."""
        os.close(self.descriptor)


class Door:
    """The socket of one container, held open by a descriptor."""

    def __init__(self, root: Root, path: str) -> None:
        """Open it. Raises NoDoorError."""
        self._directory, self._descriptor = -1, -1
        try:
            self._directory = _walk(root, PurePosixPath(path).parent)
            self._name = PurePosixPath(path).name
            self._descriptor = os.open(self._name, os.O_PATH | os.O_NOFOLLOW, dir_fd=self._directory)
            self._seen = os.fstat(self._descriptor)
        except OSError as error:
            self.close()
            raise NoDoorError(f"no socket at {path} in the container: {error.strerror}") from None
        if not stat.S_ISSOCK(self._seen.st_mode):
            self.close()
            raise NoDoorError(f"what the container has at {path} is no socket")

    @property
    def path(self) -> str:
        """The path at which this process, and no other, finds it."""
        return f"/proc/self/fd/{self._descriptor}"

    @property
    def is_current(self) -> bool:
        """Whether the container still has this very socket at its path: its server may have made another one."""
        try:
            now = os.stat(self._name, dir_fd=self._directory, follow_symlinks=False)
        except OSError:
            return False
        return (now.st_dev, now.st_ino) == (self._seen.st_dev, self._seen.st_ino)

    def close(self) -> None:
        """Let go of it."""
        for descriptor in (self._directory, self._descriptor):
            if descriptor >= 0:
                os.close(descriptor)
        self._directory = self._descriptor = -1


def _walk(root: Root, directory: PurePosixPath) -> int:
    """Return a descriptor of a directory in a container. Raises OSError, also where a part of the path is a link."""
    here = os.dup(root.descriptor)
    for part in directory.parts[1:]:
        try:
            below = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
        finally:
            os.close(here)
        here = below
    return here
