"""Finds a unit that people made by hand, keeps what there is of it in a directory of root's, and puts it back.

Its files may be links into a user's directory. They are never followed for writing, and what is read of that directory
is read as its owner, so that no link in it shows root's files.
"""

import os
import subprocess
from pathlib import Path

from pydantic import ValidationError

from reconciler.core.units import paths
from reconciler.core.units.made_by_hand import Link, MadeByHand
from reconciler.files.atomic import replace_file, sync_directory
from reconciler.files.untrusted import UnacceptableFileError, read_own_file

_RECORD, _ARCHIVE = "unit.json", "files.tar"
_MAX_RECORD = 1024 * 1024
_TIMEOUT = 600
"""Seconds for a copy of its directory."""


class BackupError(Exception):
    """A unit cannot be kept or put back; the message goes on from "cannot adopt NAME:"."""


def find(unit: str, directory: Path = Path(paths.UNIT_DIRECTORY)) -> MadeByHand | None:
    """Look at a unit; None where this host has none, or none but our own."""
    shown = _show(unit)
    if shown.get("LoadState") != "loaded":
        return None
    template = f"{unit.partition('@')[0]}@.service"
    links, files = [], {}
    own = [directory / unit, directory / template]
    # systemd takes the file of the instance, if there is one, and the template otherwise.
    own = [path for path in own if os.path.lexists(path)][:1]
    wants = [wants / unit for wants in sorted(directory.glob("*.wants")) + sorted(directory.glob("*.requires"))]
    for path in [*own, *wants]:
        if path.is_symlink():
            links.append(Link(path=str(path), target=str(path.readlink())))
        elif path.is_file():
            files[str(path)] = path.read_text(errors="replace")
    return MadeByHand(
        schema=1,
        unit=unit,
        text=_output("systemctl", "cat", unit),
        links=tuple(links),
        files=files,
        directory=shown.get("WorkingDirectory", "").lstrip("!-"),
        was_active=shown.get("ActiveState") not in ("inactive", "failed"),
    )


def keep(found: MadeByHand, directory: Path) -> None:
    """Keep what there is of a unit, with a copy of the directory that it worked in. Raises BackupError and OSError.

    To do it again changes nothing: what was found first counts.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    record = directory / _RECORD
    if record.exists():
        return
    if found.directory:
        _archive(Path(found.directory), directory / _ARCHIVE)
    # The record comes last: without it nothing counts as kept.
    replace_file(record, found.model_dump_json(by_alias=True, indent=1).encode(), 0o600)


def kept(directory: Path) -> MadeByHand:
    """Read what was kept of a unit. Raises BackupError."""
    try:
        return MadeByHand.model_validate_json(read_own_file(directory / _RECORD, _MAX_RECORD))
    except (UnacceptableFileError, ValidationError) as error:
        raise BackupError(f"{directory / _RECORD} cannot be used: {error}") from error


def take_away(found: MadeByHand) -> None:
    """Remove a unit's links and files from /etc/systemd/system, those of a template of other instances left alone."""
    for link in reversed(found.links):
        if not _is_template(link.path):
            _unlink(Path(link.path))
    for name in found.files:
        if not _is_template(name):
            _unlink(Path(name))


def put_back(found: MadeByHand) -> None:
    """Make a unit's files and links again, as they were."""
    for name, text in found.files.items():
        if not _is_template(name):
            replace_file(Path(name), text.encode(), 0o644)
    for link in found.links:
        path = Path(link.path)
        path.parent.mkdir(exist_ok=True)
        if not os.path.lexists(path):
            path.symlink_to(link.target)
            sync_directory(path.parent)


def _is_template(path: str) -> bool:
    return Path(path).name.endswith("@.service")


def _unlink(path: Path) -> None:
    path.unlink(missing_ok=True)
    if path.parent.exists():
        sync_directory(path.parent)


def _archive(source: Path, target: Path) -> None:
    """Copy a directory as its owner, who may read what is in it and nothing more."""
    try:
        about = source.stat()
    except OSError as error:
        raise BackupError(f"{source} cannot be read: {error.strerror}") from error
    command = ["tar", "--create", "--one-file-system", "--ignore-failed-read", f"--directory={source}", "."]
    # In a directory of root's that nobody else may enter.
    with target.open("wb") as archive:
        done = subprocess.run(  # noqa: S603 - a fixed program; the directory is one argument
            command,
            stdout=archive,
            stderr=subprocess.PIPE,
            user=about.st_uid,
            group=about.st_gid,
            extra_groups=[],
            timeout=_TIMEOUT,
            check=False,
        )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise BackupError(f"{source} cannot be copied: {said[-1] if said else 'tar failed'}")


def _show(unit: str) -> dict[str, str]:
    keys = "LoadState,ActiveState,WorkingDirectory,FragmentPath"
    pairs = (line.partition("=") for line in _output("systemctl", "show", f"--property={keys}", unit).splitlines())
    return {key: value for key, _, value in pairs}


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout  # noqa: S603 - fixed words and a checked name
