"""Our unit files on this host, and their copies, from which a changed or removed unit is restored."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from reconciler.apply.render import facts_of
from reconciler.core.units import names
from reconciler.core.units.observed import File
from reconciler.files.atomic import is_directory, replace_file, sync_directory

MAX_UNIT_BYTES = 256 * 1024


class UnitFiles:
    """Reads and writes units. Only root can write to the directories, so no path can be swapped meanwhile.

    Invariant: a unit is either complete with its copy, or an interrupted write or removal shows and is finished later.
    """

    def __init__(self, units: Path, rendered: Path, others: Sequence[Path] = (), exported: Path | None = None) -> None:
        """Keep units in `units` and their copies in `rendered`; `others` may have units whose names are taken.

        `exported` is where systemd leaves what it exports of units to the journal.
        """
        self._units = units
        self._exported = exported
        self._rendered = rendered
        self._others = tuple(others)

    def observe(self) -> tuple[dict[str, File], frozenset[str]]:
        """Return our files by unit, and the units with a name of ours that somebody else made."""
        ours: dict[str, File] = {}
        foreign: set[str] = set()
        installed, copies = _list(self._units), _list(self._rendered)
        changed = _with_drop_ins(self._units)
        for unit in sorted(installed | copies):
            file = self._look_at(unit, unit in installed, unit in copies, unit in changed)
            if file is None:
                foreign.add(unit)
            else:
                ours[unit] = file
        # systemd would prefer a file of ours over theirs, or theirs over ours: neither is wanted.
        for directory in self._others:
            foreign |= _list(directory) - set(ours)
        return ours, frozenset(foreign)

    def _look_at(self, unit: str, is_installed: bool, has_copy: bool, has_drop_ins: bool) -> File | None:
        """Read a unit and its copy; None when neither has our mark, so that somebody else made the unit."""
        text = _read(self._units / unit) if is_installed else None
        copy = _read(self._rendered / unit) if has_copy else None
        facts = facts_of(copy) if copy is not None else None
        if facts is None:
            copy = None  # somebody emptied it: nothing to restore a unit from
            facts = facts_of(text) if text is not None else None
        if facts is None:
            return None
        is_intact = text is not None and copy in (None, text)
        is_masked = is_installed and _is_masked(self._units / unit)
        # Drop-ins of a deployment's slice are for operators: they limit the deployment, whichever release runs.
        is_slice = names.parse_slice(unit) is not None
        return File(unit, is_intact, facts, is_masked, drop_ins=has_drop_ins and not is_slice)

    def remove_drop_ins(self, unit: str) -> None:
        """Remove the drop-ins that somebody put beside a unit to change it."""
        directory = self._units / f"{unit}.d"
        if is_directory(directory):
            shutil.rmtree(directory)
        else:
            directory.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove leftovers of interrupted writes, by their names: other files in the directory are not ours."""
        for directory in (self._units, self._rendered):
            for leftover in directory.glob(".*.new"):
                unit = leftover.name.removeprefix(".").removesuffix(".new")
                if names.is_ours(unit):
                    leftover.unlink(missing_ok=True)

    def enabled(self) -> frozenset[str]:
        """List our units that a boot would start."""
        wants_directories = [path for path in self._units.glob("*.wants") if path.is_dir()]
        return frozenset(link for directory in wants_directories for link in _list(directory))

    def write(self, unit: str, text: str) -> None:
        """Write the copy, then the unit: after a crash between the two the unit is restored from the copy."""
        self._rendered.mkdir(mode=0o700, exist_ok=True)
        replace_file(self._rendered / unit, text.encode(), 0o644)
        replace_file(self._units / unit, text.encode(), 0o644)

    def install(self, unit: str) -> None:
        """Restore a unit from its copy."""
        replace_file(self._units / unit, _content(self._rendered / unit), 0o644)

    def remove(self, unit: str) -> None:
        """Remove a unit, then its copy: after a crash between the two the copy shows that there is more to remove."""
        if self._exported is not None:
            # systemd (252 to 257 at least) forgets this file of a unit with LogExtraFields=: it unlinks another name.
            (self._exported / f"log-extra-fields:{unit}").unlink(missing_ok=True)
        self.remove_drop_ins(unit)
        # The unit before its copy, as the docstring says.
        for directory in (self._units, self._rendered):
            (directory / unit).unlink(missing_ok=True)
            if directory.exists():
                sync_directory(directory)


def _list(directory: Path) -> set[str]:
    try:
        with os.scandir(directory) as entries:
            return {entry.name for entry in entries if names.is_ours(entry.name)}
    except FileNotFoundError:
        return set()


def _with_drop_ins(directory: Path) -> set[str]:
    """List our units that have a directory for drop-ins."""
    try:
        with os.scandir(directory) as entries:
            found = {entry.name.removesuffix(".d") for entry in entries if entry.name.endswith(".d")}
    except FileNotFoundError:
        return set()
    return {unit for unit in found if names.is_ours(unit)}


def _is_masked(path: Path) -> bool:
    """Whether a unit's file is a link to /dev/null. An empty file masks, too, but a full disk may have left it."""
    try:
        return path.is_symlink() and os.path.realpath(path) == "/dev/null"
    except OSError:
        return False


def _read(path: Path) -> str:
    """Read a unit; "" for one that cannot be read, which has no mark and so counts as not ours."""
    try:
        return _content(path).decode(errors="replace")
    except OSError:
        return ""


def _content(path: Path) -> bytes:
    """Read a file up to a limit, without waiting for a writer where it is a pipe. Raises OSError."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        return file.read(MAX_UNIT_BYTES)
