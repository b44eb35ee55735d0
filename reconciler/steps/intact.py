"""Refuses packages that change the environment itself: the interpreter, its configuration, its library."""

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.steps.check_files import OddFileError, listing, listing_line, sha256_of, walk
from reconciler.steps.step_report import StepError

MAX_RECORD_BYTES = 64 * 1024 * 1024
_PYTHON = re.compile(r"bin/(python[0-9.]*t?|pyvenv\.cfg)|pyvenv\.cfg")
"""Files that decide which Python starts, and with which library."""


@dataclass(frozen=True)
class Fresh:
    """An environment before anything was installed into it."""

    venv: Path
    made: Mapping[str, str]
    """By path, the line of each file and link that is there, as a listing has it."""
    library: str
    """The directory in which Python would look for its own library, as a relative path such as `lib/python3.11`."""

    @property
    def packages(self) -> Path:
        """The directory of packages in the environment."""
        return self.venv / self.library / "site-packages"


def look_at(venv: Path) -> Fresh:
    """Note what uv made, before anything is installed."""
    library = next((venv / "lib").glob("python3.*"))
    return Fresh(venv, listing(str(venv), links=True), str(library.relative_to(venv)))


def refuse_changes(fresh: Fresh) -> None:
    """Raise StepError when a package replaced or changed a part of the environment itself.

    No file is opened but those that uv made. Packages may bring `.pth` files, `sitecustomize.py` and bytecode: these
    run where an interpreter starts with the environment, which is in the server's sandbox and nowhere else.
    """
    try:
        there = dict(walk(str(fresh.venv), links=True))
    except OddFileError as odd:
        raise StepError(
            f"cannot build the environment: {odd}; log the model without the package that brings it"
        ) from odd
    for path, status in there.items():
        why = _why_not_beside(path, status, fresh.library) if path not in fresh.made else None
        if why:
            raise _refused(fresh, path, why)
    # The record of a package could claim anything, so the files themselves are compared.
    for path, made in fresh.made.items():
        if path not in there or _made_line(fresh.venv / path, there[path]) != made:
            raise _refused(fresh, path, "belongs to the environment itself")
    if not fresh.packages.is_dir():
        raise _refused(fresh, fresh.library, "has to be a directory")


def _made_line(path: Path, status: os.stat_result) -> str:
    """Return the line of one file or link, as a listing has it."""
    return f"-> {path.readlink()}" if stat.S_ISLNK(status.st_mode) else listing_line(status.st_size, sha256_of(path))


def _why_not_beside(path: str, status: os.stat_result, library: str) -> str | None:
    """Say why a package may not bring a file at this path; None when it may."""
    if stat.S_ISLNK(status.st_mode):
        return "is a link"
    if _PYTHON.fullmatch(path):
        return "says which Python runs"
    is_in_library = path.startswith(f"{library}/")
    is_of_packages = path.startswith(f"{library}/site-packages/")
    if is_in_library and not is_of_packages:
        return "is in the place of Python's own library"
    return None


def _refused(fresh: Fresh, path: str, why: str) -> StepError:
    owner = _owner(fresh, path)
    who = f"the package {owner}" if owner else "a package"
    return StepError(
        f"cannot build the environment: {who} brings or changes {path!r}, which {why}; "
        "log the model without that package, or with a version of it that installs nothing there"
    )


def _owner(fresh: Fresh, path: str) -> str | None:
    """Name the package whose own record lists a path. The package wrote the record: good enough for a sentence only."""
    for info in sorted(fresh.packages.glob("*.dist-info")):
        try:
            descriptor = os.open(info / "RECORD", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue  # it has none, or none that is a file
        with os.fdopen(descriptor, "rb") as record:
            text = record.read(MAX_RECORD_BYTES).decode(errors="replace")
        if path in _listed_in(text, fresh.library):
            return info.name.removesuffix(".dist-info").replace("-", "==", 1)
    return None


def _listed_in(record: str, library: str) -> set[str]:
    """Read the paths that a package's record lists, as paths in the environment; `lib64` is a link to `lib`."""
    listed: set[str] = set()
    for line in record.splitlines():
        entry = line.partition(",")[0].strip('"')
        path = os.path.normpath(f"{library}/site-packages/{entry}")
        listed |= {path, path.replace("lib64/", "lib/", 1)}
    return listed
