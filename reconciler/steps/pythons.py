"""Chooses the interpreter of an environment: one of the host's, or one that uv downloads where the host allows that."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from reconciler.core.text.python_versions import LEAST, can_serve, number
from reconciler.steps import uv
from reconciler.steps.python_list import (
    DOWNLOADS,
    PythonSettings,
    list_argument,
    offered,
    query,
    why_no_list,
)
from reconciler.steps.step_report import StepError
from reconciler.steps.subprocesses import Room
from reconciler.steps.tree import free_bytes

_LEAST_BYTES = 1024 * 1024
"""Bytes that uv needs to keep what it learnt of the interpreters."""
_ABSENT = r"No such file or directory|404 Not Found"


@dataclass(frozen=True)
class Interpreter:
    """An interpreter from which an environment can be made."""

    program: str
    tree: Path | None = None
    """The directory with all of it, if it was downloaded; then it has to become a part of the environment."""


def choose(minor: str, settings: PythonSettings, unpack: Path, room: Room) -> Interpreter:
    """Return an interpreter of this minor version; one that is downloaded is unpacked below `unpack`.

    The host's own comes first: it is kept up to date with the host. Raises StepError with the versions that there are.
    """
    here = _installed(room)
    if minor in here and can_serve(minor):
        return Interpreter(here[minor])
    downloads = _downloads(settings, room) if settings.managed else []
    if minor not in downloads:
        raise _refused(minor, here, downloads, settings)
    return _download(minor, settings, unpack, room)


def _installed(room: Room) -> dict[str, str]:
    """Map the minor versions that this host has to their programs."""
    listed = json.loads(uv.run("python", "list", "--only-installed", "--output-format", "json", room=room))
    here: dict[str, str] = {}
    for interpreter in listed:  # python3.11 comes before python3, whose minor changes with an upgrade of the host
        version = interpreter["version_parts"]
        here.setdefault(f"{version['major']}.{version['minor']}", str(interpreter["path"]))
    if not here and free_bytes(room.directory) < _LEAST_BYTES:  # uv lists only what it could write into its cache
        raise uv.no_space()
    return here


def _downloads(settings: PythonSettings, room: Room) -> list[str]:
    """Return the minor versions that can be downloaded; raises StepError where the host's list cannot be used."""
    why = why_no_list(settings.list) if settings.list else None
    if why:
        raise StepError(
            f"cannot build the environment: the list of Pythons {settings.list} {why}; have build.python_list corrected"
        )
    try:
        return offered(json.loads(uv.run(*query(settings), room=room, environment=DOWNLOADS)))
    except uv.UvError as error:
        raise StepError(
            f"cannot build the environment: the Pythons that can be downloaded are not known: {uv.because(error)}; "
            "have build.python_list corrected"
        ) from error


def _download(minor: str, settings: PythonSettings, unpack: Path, room: Room) -> Interpreter:
    """Have uv download an interpreter, compare it with its digest and unpack it."""
    unpack.mkdir(exist_ok=True)
    command = ["python", "install", "--no-bin", *list_argument(settings), *_mirror_argument(settings)]
    command += ["--offline"] if settings.offline else []
    environment = {**DOWNLOADS, "UV_PYTHON_INSTALL_DIR": str(unpack)}
    try:
        uv.run(*command, minor, room=room, environment=environment)
    except uv.UvError as error:
        raise _not_downloaded(error, minor, settings) from error
    # A link with the name of the minor version leads to the one that was installed.
    tree = next(path for path in unpack.glob("cpython-*") if path.is_dir() and not path.is_symlink())
    return Interpreter(str(tree / "bin" / f"python{minor}"), tree)


def _mirror_argument(settings: PythonSettings) -> list[str]:
    if not settings.mirror:
        return []
    is_directory = settings.mirror.startswith("/")
    return ["--mirror", Path(settings.mirror).as_uri() if is_directory else settings.mirror]


def _not_downloaded(error: uv.UvError, minor: str, settings: PythonSettings) -> StepError:
    """Turn uv's error into the sentence for people."""
    text = str(error)
    where = settings.mirror or "uv's own place for Pythons"
    if uv.is_for_want_of_space(error):
        return uv.no_space()
    if "Hash mismatch" in text:
        why = f"{where} has another file than the list says; find out why, or have build.python_mirror corrected"
    elif re.search(_ABSENT, text):
        why = f"{where} does not have the file that the list names; put it there, or have build.python_list corrected"
    elif "connectivity is disabled" in text:
        why = "this host is offline; have build.python_mirror set to a directory"
    elif uv.is_unreachable(error):
        why = f"cannot reach {where}; it is tried again by itself, or mend build.python_mirror"
    else:
        why = f"{uv.because(error)}; see this unit's journal"
    return StepError(f"cannot build the environment: cannot get Python {minor}: {why}")


def _refused(minor: str, here: Iterable[str], downloads: Iterable[str], settings: PythonSettings) -> StepError:
    """Make the error of a version that cannot be had, with those that can."""
    usable = sorted({*filter(can_serve, here)}, key=number)
    have = f"this host has {', '.join(usable) or 'none that can be used'}"
    more = [one for one in downloads if one not in usable]
    if more:
        have += f" and can download {', '.join(more)}"
    if not can_serve(minor):
        return StepError(
            f"cannot build the environment: the model wants Python {minor}, and the model server needs {LEAST} or "
            f"newer; {have}: log the model with one of these"
        )
    ways = f"have python{minor} installed in /usr/bin or /usr/local/bin"
    if not settings.managed:
        ways += ", or build.pythons set to managed"
    return StepError(
        f"cannot build the environment: the model wants Python {minor}, {have}; "
        f"log the model with one of these, or {ways}"
    )
