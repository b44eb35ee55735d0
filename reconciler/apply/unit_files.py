"""Our unit files on this host, and their copies, from which a changed or removed unit is restored."""

import os
import shutil
import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from reconciler.apply.render import facts_of
from reconciler.apply.unit_directory import list_units
from reconciler.core.units import names
from reconciler.core.units.observed import File
from reconciler.core.units.unit_facts import UnitFacts
from reconciler.files.atomic import is_directory, replace_file, sync_directory
from reconciler.files.stamps import Stamp, is_settled

MAX_UNIT_BYTES = 256 * 1024


class _Stamps(NamedTuple):
    """What of a unit has to be as it was for its file to be what it was; None where there is nothing."""

    installed: Stamp | None
    copy: Stamp | None
    has_drop_ins: bool

    def are_settled(self, now: int) -> bool:
        """Whether every later change will show. Of a link it would not: what it leads to has a stamp of its own."""
        there = [one for one in (self.installed, self.copy) if one is not None]
        return all(stat.S_ISREG(one[0]) and is_settled(one, now) for one in there)


class UnitsOnDisk(NamedTuple):
    """What is on disk of units with names of ours."""

    files: dict[str, File]
    """Our files, by unit."""
    foreign: frozenset[str]
    """Those that somebody else made."""
    enabled: frozenset[str]
    """Those that a boot would start."""


class UnitFiles:
    """Reads and writes units. Only root can write to the directories, so no path can be swapped meanwhile.

    Invariant: a unit is either complete with its copy, or an interrupted write or removal shows and is finished later.
    """

    def __init__(
        self,
        units: Path,
        rendered: Path,
        others: Sequence[Path] = (),
        exported: Path | None = None,
        nanoseconds: Callable[[], int] = time.time_ns,
    ) -> None:
        """Keep units in `units` and their copies in `rendered`; `others` may have units whose names are taken.

        `exported` is where systemd leaves what it exports of units to the journal. `nanoseconds` since the epoch: the
        clock of the file system.
        """
        self._units = units
        self._exported = exported
        self._rendered = rendered
        self._others = tuple(others)
        self._nanoseconds = nanoseconds
        self._known: dict[str, tuple[_Stamps, File]] = {}
        """What was read of units whose stamps say that they are as they were."""
        self._last: tuple[object, UnitsOnDisk] | None = None
        """What was seen last, and by what it is known to be the same; None when a later change may not show."""

    def observe(self) -> UnitsOnDisk:
        """Look at all files; only those are read that are not as they were."""
        ours: dict[str, File] = {}
        foreign: set[str] = set()
        known: dict[str, tuple[_Stamps, File]] = {}
        now = self._nanoseconds()
        installed, copies = list_units(self._units), list_units(self._rendered)
        others = [list_units(directory).stamps.keys() for directory in self._others]
        listed = installed, copies, others
        if self._last is not None and self._last[0] == listed:
            return self._last[1]
        for unit in sorted(installed.stamps.keys() | copies.stamps.keys()):
            has_drop_ins = unit in installed.with_drop_ins
            stamps = _Stamps(installed.stamps.get(unit), copies.stamps.get(unit), has_drop_ins)
            last = self._known.get(unit)
            if last is not None and last[0] == stamps:
                ours[unit], known[unit] = last[1], last
                continue
            file = self._look_at(unit, stamps)
            if file is None:
                foreign.add(unit)
                continue
            ours[unit] = file
            if stamps.are_settled(now):
                known[unit] = stamps, file
        self._known = known
        # systemd would prefer a file of ours over theirs, or theirs over ours: neither is wanted.
        for units in others:
            foreign |= units - ours.keys()
        seen = UnitsOnDisk(ours, frozenset(foreign), frozenset(installed.enabled))
        are_all_known = len(known) == len(installed.stamps.keys() | copies.stamps.keys())
        self._last = (listed, seen) if are_all_known else None
        return seen

    def _look_at(self, unit: str, stamps: _Stamps) -> File | None:
        """Read a unit and its copy; None when neither has our mark, so that somebody else made the unit."""
        is_installed = stamps.installed is not None
        text = _read(self._units, unit) if is_installed else None
        copy = _read(self._rendered, unit) if stamps.copy is not None else None
        facts = _facts_of(copy)
        if facts is None:
            copy = None  # somebody emptied it: nothing to restore a unit from
            facts = _facts_of(text)
        if facts is None:
            return None
        is_intact = text is not None and copy in (None, text)
        is_masked = is_installed and _is_masked(self._units / unit)
        # Drop-ins of a deployment's slice are for operators: they limit the deployment, whichever release runs.
        is_slice = names.parse_slice(unit) is not None
        return File(unit, is_intact, facts, is_masked, drop_ins=stamps.has_drop_ins and not is_slice)

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

    def write(self, unit: str, text: str) -> None:
        """Write the copy, then the unit: after a crash between the two the unit is restored from the copy."""
        self._rendered.mkdir(mode=0o700, exist_ok=True)
        replace_file(self._rendered / unit, text.encode(), 0o644)
        replace_file(self._units / unit, text.encode(), 0o644)

    def install(self, unit: str) -> None:
        """Restore a unit from its copy."""
        replace_file(self._units / unit, _content(f"{self._rendered}/{unit}"), 0o644)

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


def _is_masked(path: Path) -> bool:
    """Whether a unit's file is a link to /dev/null. An empty file masks, too, but a full disk may have left it."""
    try:
        return path.is_symlink() and os.path.realpath(path) == "/dev/null"
    except OSError:
        return False


def _facts_of(content: bytes | None) -> UnitFacts | None:
    return facts_of(content.decode(errors="replace")) if content else None


def _read(directory: Path, unit: str) -> bytes:
    """Read a unit; nothing of one that cannot be read, which has no mark and so counts as not ours."""
    try:
        return _content(f"{directory}/{unit}")
    except OSError:
        return b""


def _content(path: str) -> bytes:
    """Read a file up to a limit, without waiting for a writer where it is a pipe. Raises OSError."""
    # Without a file object: a command reads twelve thousand files of a thousand deployments.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        content = os.read(descriptor, MAX_UNIT_BYTES)
        while content and len(content) < MAX_UNIT_BYTES:
            more = os.read(descriptor, MAX_UNIT_BYTES - len(content))
            if not more:
                break
            content += more
        return content
    finally:
        os.close(descriptor)
