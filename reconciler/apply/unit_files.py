"""The unit files of this host that are ours, and the copies that say what they should be."""

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
    """Reads and writes units. Every directory here is root's alone, so paths need no more care than that."""

    def __init__(self, units: Path, rendered: Path, others: Sequence[Path] = (), exported: Path | None = None) -> None:
        """Keep units in `units` and their copies in `rendered`; `others` are looked at for names that are taken.

        `exported` is where systemd leaves what it exports of units to the journal.
        """
        self._units = units
        self._exported = exported
        self._rendered = rendered
        self._others = tuple(others)

    def observe(self) -> tuple[dict[str, File], frozenset[str]]:
        """Show our files by unit, and the units with a name of ours that somebody else made."""
        ours: dict[str, File] = {}
        foreign: set[str] = set()
        installed, copies = _list(self._units), _list(self._rendered)
        changed = _with_drop_ins(self._units)
        for unit in sorted(installed | copies):
            text = _read(self._units / unit) if unit in installed else None
            copy = _read(self._rendered / unit) if unit in copies else None
            facts = facts_of(copy) if copy is not None else None
            if facts is None:
                copy = None  # somebody emptied it: nothing to restore a unit from
                facts = facts_of(text) if text is not None else None
            if facts is None:
                foreign.add(unit)
            else:
                intact = text is not None and copy in (None, text)
                masked = unit in installed and _is_masked(self._units / unit)
                ours[unit] = File(unit, intact, facts, masked, drop_ins=unit in changed and self._may_not_change(unit))
        for directory in self._others:
            foreign |= _list(directory) - set(ours)
        return ours, frozenset(foreign)

    @staticmethod
    def _may_not_change(unit: str) -> bool:
        """Drop-ins of a deployment's slice are for ops: they limit it, whichever release runs."""
        return names.parse_slice(unit) is None

    def remove_drop_ins(self, unit: str) -> None:
        """Remove what was put beside a unit to change it."""
        directory = self._units / f"{unit}.d"
        if is_directory(directory):
            shutil.rmtree(directory)
        else:
            directory.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what an interrupted write left."""
        for directory in (self._units, self._rendered):
            for left in directory.glob(".*.new"):
                if names.is_ours(left.name.removeprefix(".").removesuffix(".new")):
                    left.unlink(missing_ok=True)

    def enabled(self) -> frozenset[str]:
        """List our units that a boot would start."""
        return frozenset(link for wants in self._units.glob("*.wants") if wants.is_dir() for link in _list(wants))

    def write(self, unit: str, text: str) -> None:
        """Keep the copy first, then install it: a crash between the two is mended by restoring."""
        self._rendered.mkdir(mode=0o700, exist_ok=True)
        replace_file(self._rendered / unit, text.encode(), 0o644)
        replace_file(self._units / unit, text.encode(), 0o644)

    def install(self, unit: str) -> None:
        """Restore a unit from its copy."""
        replace_file(self._units / unit, _content(self._rendered / unit), 0o644)

    def remove(self, unit: str) -> None:
        """Remove a unit, then its copy: a crash between the two leaves the mark that there is more to remove."""
        if self._exported is not None:
            # systemd (252 to 257 at least) forgets this file of a unit with LogExtraFields=: it unlinks another name.
            (self._exported / f"log-extra-fields:{unit}").unlink(missing_ok=True)
        self.remove_drop_ins(unit)
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
    """The units of ours beside which drop-ins lie."""
    try:
        with os.scandir(directory) as entries:
            found = {entry.name.removesuffix(".d") for entry in entries if entry.name.endswith(".d")}
    except FileNotFoundError:
        return set()
    return {unit for unit in found if names.is_ours(unit)}


def _is_masked(path: Path) -> bool:
    """Tell whether a unit's file is a link to /dev/null. An empty one masks, too, but may be what a full disk left."""
    try:
        return path.is_symlink() and os.path.realpath(path) == "/dev/null"
    except OSError:
        return False


def _read(path: Path) -> str:
    """Read a unit; what is no readable file has no mark and so is not ours."""
    try:
        return _content(path).decode(errors="replace")
    except OSError:
        return ""


def _content(path: Path) -> bytes:
    """Read what is there, and wait for no writer of a pipe. Raises OSError."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        return file.read(MAX_UNIT_BYTES)
