"""What makes an environment one stays as uv made it, whatever files the packages in it bring."""

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reconciler.steps.check_files import OddFileError, line, listing, sha256_of, walk
from reconciler.steps.step_report import StepError

MAX_RECORD_BYTES = 64 * 1024 * 1024
_PYTHON = re.compile(r"bin/(python[0-9.]*t?|pyvenv\.cfg)|pyvenv\.cfg")
"""Where Python itself, and whoever starts it, looks when it starts."""


@dataclass(frozen=True)
class Fresh:
    """An environment before anything was installed into it."""

    venv: Path
    made: Mapping[str, str]
    """What counts of each file and link that is there."""
    library: str
    """The directory in which Python would look for its own library, as a relative path such as `lib/python3.11`."""

    @property
    def packages(self) -> Path:
        """Where packages are put."""
        return self.venv / self.library / "site-packages"


def look_at(venv: Path) -> Fresh:
    """Note what uv made."""
    library = next((venv / "lib").glob("python3.*"))
    return Fresh(venv, listing(str(venv), links=True), str(library.relative_to(venv)))


def refuse_changes(fresh: Fresh) -> None:
    """Raise StepError when something that was installed is not beside but in place of what makes the environment.

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
        if path not in fresh.made and (why := _why_not(path, status, fresh.library)):
            raise _refused(fresh, path, why)
    for path, made in fresh.made.items():
        if path not in there or _line(fresh.venv / path, there[path]) != made:
            raise _refused(fresh, path, "belongs to the environment itself")
    if not fresh.packages.is_dir():
        raise _refused(fresh, fresh.library, "has to be a directory")


def _line(path: Path, status: os.stat_result) -> str:
    """What counts of one file or link, as in a listing."""
    return f"-> {path.readlink()}" if stat.S_ISLNK(status.st_mode) else line(status.st_size, sha256_of(path))


def _why_not(path: str, status: os.stat_result, library: str) -> str | None:
    """Say why a package may not bring this; None when it may."""
    if stat.S_ISLNK(status.st_mode):
        return "is a link"
    if _PYTHON.fullmatch(path):
        return "says which Python runs"
    if path.startswith(f"{library}/") and not path.startswith(f"{library}/site-packages/"):
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
    """Name the package whose own record lists a path; the record is the package's word, for a sentence only."""
    for info in sorted(fresh.packages.glob("*.dist-info")):
        try:
            descriptor = os.open(info / "RECORD", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue  # it has none, or none that is a file
        with os.fdopen(descriptor, "rb") as record:
            text = record.read(MAX_RECORD_BYTES).decode(errors="replace")
        entries = (line.partition(",")[0].strip('"') for line in text.splitlines())
        listed = (os.path.normpath(f"{fresh.library}/site-packages/{entry}") for entry in entries)
        if any(one == path or one.replace("lib64/", "lib/", 1) == path for one in listed):
            return info.name.removesuffix(".dist-info").replace("-", "==", 1)
    return None
