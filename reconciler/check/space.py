"""Looks over whether the product can write wherever it must: room, and mounts that allow it."""

import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reconciler.check.host import Finding
from reconciler.core.units import paths
from reconciler.settings.model import Settings

RECONCILER = "mlflow-reconciler.service"
LEAST = 16 * 1024**2
"""Bytes that should be free: some times what the ledger, the units and a rendering need at once."""
LEAST_INODES = 64
SHARE = 4
"""Of a file system that is small, one part in so many is enough."""
ITS_OWN = (paths.STATE_DIRECTORY, paths.UNIT_DIRECTORY, paths.RUN_DIRECTORY)
"""Where the reconciler writes, with mounts of its own."""
ITS_TMP = "/tmp"  # noqa: S108 - looked at, nothing is written there
OTHERS = (paths.DEPLOY_HOME, paths.SERVER_TEMP, "/run/mlflow-registry-agent", "/run/models")
_ESCAPED = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class _Mount:
    point: str
    kind: str
    device: str
    """Major and minor number."""


@dataclass(frozen=True)
class _Trouble:
    """Why nothing can be written, and what mends it: the same for all places on one file system."""

    why: str
    mend: str


_Rooms = dict[str, list[_Trouble]]
"""By mount point, what the first look found: another look would find other figures, so another trouble."""


def space(settings: Settings, reconciler: int) -> Iterator[Finding]:
    """Look at every place, and at those of the reconciler also through the mounts of its process.

    `reconciler` is the number of that process, 0 when it does not run. Places with the same trouble make one finding.
    """
    yield from _home(settings)
    found: dict[_Trouble, list[str]] = {}
    blamed: set[str] = set()
    rooms: _Rooms = {}
    for place in (*ITS_OWN, *OTHERS):
        for trouble in _here(place, rooms):
            found.setdefault(trouble, []).append(place)
            blamed.add(place)
    seen_by_the_process = (*ITS_OWN, ITS_TMP) if reconciler else ()
    for place in seen_by_the_process:
        if place in blamed:
            continue  # the process has the same trouble with it
        for trouble in _there(place, reconciler, rooms):
            found.setdefault(trouble, []).append(f"{place} of {RECONCILER}")
    for trouble, where in found.items():
        yield Finding(f"cannot write to {', '.join(where)}: {trouble.why}", trouble.mend)


def _here(place: str, rooms: _Rooms) -> Iterator[_Trouble]:
    """Find what keeps root from writing to a place of the host. A missing place is a finding of another look."""
    try:
        about = os.statvfs(place)
    except FileNotFoundError:
        return
    mount = _mount_of(place, _mounts("self"))
    if about.f_flag & os.ST_RDONLY:
        mend = f"mount -o remount,rw {shlex.quote(mount.point)}; why it is so, journalctl -k may tell"
        yield _Trouble(f"{mount.point} ({mount.kind}) is mounted read-only", mend)
    yield from rooms.setdefault(mount.point, list(_room(about, mount.point)))


def _there(place: str, process: int, rooms: _Rooms) -> Iterator[_Trouble]:
    """Find what keeps the process from writing to a place: its mounts were made when it was started."""
    restart = f"systemctl restart {RECONCILER}"
    try:
        about = os.statvfs(f"/proc/{process}/root{place}")
        mount = _mount_of(place, _mounts(str(process)))
    except FileNotFoundError:
        yield _Trouble("the place that it was started with is gone", restart)
        return
    if about.f_flag & os.ST_RDONLY:
        yield _Trouble("it is read-only to that service", restart)
    # Its own /tmp is a directory of the host's, or a file system that nobody else sees.
    same = [here.point for here in _mounts("self") if here.device == mount.device]
    if same:
        shown = min(same, key=len)
        yield from rooms.setdefault(shown, list(_room(about, shown)))
    else:
        yield from (_Trouble(trouble.why, restart) for trouble in _room(about, mount.point))


def _room(about: os.statvfs_result, mount: str) -> Iterator[_Trouble]:
    """Find that a file system is full, or nearly so, of bytes or of files."""
    total, free = about.f_blocks * about.f_frsize, about.f_bavail * about.f_frsize
    name = shlex.quote(mount)
    if free < _least(about):
        why = f"no space left, {free // 1024} of {total // 1024} KiB are free on {mount}"
        more = (_least(about) - free) // 1024 + 1
        yield _Trouble(why, f"free {more} KiB on {mount}; what is large there: du -xah {name} | sort -h | tail")
    has_fixed_number_of_files = about.f_files > 0
    if has_fixed_number_of_files and about.f_favail < min(LEAST_INODES, about.f_files // SHARE):
        why = f"no space left for another file, {about.f_favail} of {about.f_files} inodes are free on {mount}"
        yield _Trouble(why, f"remove files on {mount}; where they are many: du -x --inodes {name} | sort -n | tail")


def _least(about: os.statvfs_result) -> int:
    """Return the bytes that should be free."""
    return min(LEAST, about.f_blocks * about.f_frsize // SHARE)


def _home(settings: Settings) -> Iterator[Finding]:
    """Look at the place of releases and environments, which needs more than a writable file system."""
    try:
        about = os.statvfs(paths.DEPLOY_HOME)
    except FileNotFoundError:
        return  # the missing directory is a finding of its own
    free = about.f_bavail * about.f_frsize
    # Less than the least is a finding of every place, this one too.
    if _least(about) <= free < settings.fetch.keep_free:
        missing = (settings.fetch.keep_free - free) // 1024**2 + 1
        yield Finding(
            f"{paths.DEPLOY_HOME} has {free // 1024**2} MiB free, less than fetch.keep_free",
            f"free {missing} MiB there, or lower fetch.keep_free",
        )
    if about.f_flag & os.ST_NOEXEC:
        mount = _mount_of(paths.DEPLOY_HOME, _mounts("self"))
        yield Finding(
            f"{paths.DEPLOY_HOME} is on a file system mounted noexec, so no environment there can be used",
            f"mount -o remount,exec {shlex.quote(mount.point)}",
        )


def _mounts(process: str) -> list[_Mount]:
    """Read the mounts that a process sees, the latest last. Raises FileNotFoundError when it has ended."""
    lines = (line.split(" ") for line in Path(f"/proc/{process}/mountinfo").read_text().splitlines())
    return [_Mount(_unescaped(words[4]), words[words.index("-") + 1], words[2]) for words in lines]


def _mount_of(path: str, mounts: list[_Mount]) -> _Mount:
    """Choose the mount that a path is on: the one nearest to it, and the latest of those that hide each other."""
    above = [mount for mount in mounts if mount.point == "/" or f"{path}/".startswith(f"{mount.point}/")]
    longest = max(len(mount.point) for mount in above)
    return [mount for mount in above if len(mount.point) == longest][-1]  # it hides the ones before it


def _unescaped(word: str) -> str:
    """Return a name as it is: the kernel writes spaces and the like as octal numbers."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), word)
