"""The recorded digests on disk, one file of root's each, for units to read; and which of them are lost."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from reconciler.files.atomic import clear, is_directory, replace_file
from reconciler.files.stamps import Stamp, stamp
from reconciler.files.untrusted import UnacceptableFileError, read_own_file

MAX_PIN_BYTES = 100
_DIRECTORY_MODE, _FILE_MODE = 0o755, 0o644


class PinFiles:
    """A directory with copies from the ledger. It can be lost as a whole: the ledger is what counts."""

    def __init__(self, directory: Path) -> None:
        """Show pins in `directory`, which need not be there yet."""
        self._directory = directory
        self._right: dict[str, tuple[str, Stamp]] = {}
        """By name, the digest that was read from a file, and the stamp that says whether the file changed since."""

    def lost(self, pins: Mapping[str, str]) -> frozenset[str]:
        """Find the digests whose file is missing or wrong. A file is read again only if its stamp changed."""
        if not pins:
            return frozenset()
        if not self._is_right():
            return frozenset(pins)
        return frozenset(name for name, pin in pins.items() if not self._shows(name, pin))

    def show(self, name: str, pin: str) -> None:
        """Write a digest's file, whatever is in its place. Raises OSError."""
        self._prepare()
        path = self._directory / name
        if is_directory(path):
            clear(path)  # nobody needs to look at it, so it is not put aside
        replace_file(path, _content(pin), _FILE_MODE)

    def hide(self, name: str) -> None:
        """Remove a digest's file, and with the last file the directory. Raises OSError."""
        self._prepare()
        clear(self._directory / name)
        if not any(self._directory.iterdir()):
            self._directory.rmdir()

    def _is_right(self) -> bool:
        """Whether the directory is ours, with the mode that lets units read and nobody else write."""
        try:
            about = self._directory.lstat()
        except FileNotFoundError:
            return False
        ours = stat.S_ISDIR(about.st_mode) and about.st_uid == os.geteuid()
        return ours and stat.S_IMODE(about.st_mode) == _DIRECTORY_MODE

    def _prepare(self) -> None:
        if self._is_right():
            return
        if not is_directory(self._directory):  # a link or a file: somebody put it there
            clear(self._directory)
        self._directory.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)
        self._directory.chmod(_DIRECTORY_MODE)

    def _shows(self, name: str, pin: str) -> bool:
        path = f"{self._directory}/{name}"
        try:
            now = stamp(os.lstat(path))
            if self._right.get(name) == (pin, now):
                return True
            content = read_own_file(Path(path), MAX_PIN_BYTES)  # only after a change: there are two for each release
        except (OSError, UnacceptableFileError):
            return False
        if content != _content(pin) or stat.S_IMODE(now[0]) != _FILE_MODE:
            return False
        self._right[name] = pin, now
        return True


def _content(pin: str) -> bytes:
    return f"{pin}\n".encode()
