"""Looks over who can change what root runs and goes by, and whether those who run it can read it."""

import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from reconciler.check.host import (
    CREDENTIAL_STORES,
    CREDENTIALS,
    INSTALL_AGAIN,
    NOBODY,
    SYSUSERS,
    TMPFILES,
    Finding,
    exists,
    may,
)
from reconciler.core.units import paths
from reconciler.settings.model import Settings
from reconciler.steps.root_owned import is_open, others_can_change

SETTINGS = "/etc/mlflow-reconciler"
PACKAGE_CACHE = "/var/cache/mlflow-reconciler"
UNIT_DIRECTORIES = ("/usr/local/lib/systemd/system", paths.UNIT_DIRECTORY)
ENTRANCES = (
    *("/usr/local/bin/reconciler", f"{paths.PRODUCT}/bin/reconciler", paths.STEP_LAUNCHER, paths.SERVER_LAUNCHER),
    *(paths.CHECKER, paths.TEMP_LAUNCHER, f"{paths.PRODUCT_VENV}/bin/python", f"{paths.PRODUCT_VENV}/bin/uv"),
    *(SETTINGS, SYSUSERS, TMPFILES, *UNIT_DIRECTORIES, paths.STATE_DIRECTORY, paths.RUN_DIRECTORY),
)
"""Looked at with what they lead to and with every directory on the way."""
OURS = ("mlflow-*", "mlflow.slice*", "model-*", "model.slice*")
"""Units and their drop-in directories."""

Seen = tuple[str, os.stat_result]


def modes(_settings: Settings) -> Iterator[Finding]:
    """What others than root can change, and what is hidden from those who run it.

    Of the program the first path is enough: installing again mends all of it. It is made anew then, because what others
    could change may have been changed.
    """
    program = list(_program())
    opened = [*_entrances(), *(path for path, status in (*program, *_goes_by()) if is_open(status))]
    mended = [path for path in dict.fromkeys(opened) if not _is_programs(path)]
    if len(mended) < len(set(opened)):
        path = next(path for path in opened if _is_programs(path))
        yield Finding(f"{path} can be changed by others than root", INSTALL_AGAIN)
    for path in mended:
        name = shlex.quote(path)
        yield Finding(f"{path} can be changed by others than root", f"chown root {name} && chmod go-w {name}")
    yield from _closed()
    hidden = next((path for path, status in program if _is_hidden(status)), None)
    if hidden:
        why = f"{hidden} is hidden from others than root, and {paths.AGENT_USER}, steps and models need it"
        yield Finding(why, INSTALL_AGAIN)
    yield from _cache()


def _entrances() -> Iterator[str]:
    for place in ENTRANCES:
        if os.path.exists(place) and (path := others_can_change(place)):  # noqa: PTH110 - a name, like the others here
            yield path


def _program() -> Iterator[Seen]:
    """What of the program is in use; former versions are not run any more."""
    top = paths.PRODUCT
    for directory in (top, f"{top}/versions", f"{top}/environments"):
        yield from _below(directory, deep=False)
    for directory in (f"{top}/current", paths.PRODUCT_VENV):
        yield from _below(os.path.realpath(directory))


def _goes_by() -> Iterator[Seen]:
    """Settings, templates, units with their drop-ins, credentials."""
    yield from _below(SETTINGS)
    for directory in UNIT_DIRECTORIES:
        for pattern in OURS:
            for path in sorted(Path(directory).glob(pattern)):
                yield from _below(str(path))
    for store in CREDENTIAL_STORES:
        for name in CREDENTIALS:
            yield from _below(f"{store}/{name}")
            yield from _below(f"{store}.encrypted/{name}.encrypted")


def _below(top: str, *, deep: bool = True) -> Iterator[Seen]:
    """Give a path and what is in it; what is missing, or goes away meanwhile, is nobody's to change."""
    try:
        status = os.lstat(top)
        yield top, status
        if not stat.S_ISDIR(status.st_mode):
            return
        with os.scandir(top) as entries:
            found = list(entries)
    except FileNotFoundError:
        return
    for entry in found:
        if deep and entry.is_dir(follow_symlinks=False):
            yield from _below(entry.path)
        elif deep or entry.is_symlink():
            yield from _below(entry.path, deep=False)


def _is_programs(path: str) -> bool:
    return f"{path}/".startswith(f"{paths.PRODUCT}/")


def _is_hidden(status: os.stat_result) -> bool:
    """Others read everything, and run what root runs."""
    if stat.S_ISLNK(status.st_mode):
        return False
    runs = bool(status.st_mode & 0o100)
    return not status.st_mode & 0o004 or (runs and not status.st_mode & 0o001)


def _closed() -> Iterator[Finding]:
    """Whether those who run the program get to it."""
    above = Path(paths.PRODUCT).parent
    for user in (paths.AGENT_USER, paths.DEPLOY_USER, NOBODY):
        if exists(user) and not may(user, "-x", above):
            closed = next(one for one in reversed([above, *above.parents]) if not may(user, "-x", one))
            yield Finding(f"{closed} is closed to {user}, who needs what is in {paths.PRODUCT}", f"chmod a+x {closed}")
            return


def _cache() -> Iterator[Finding]:
    """Whoever gets to the locks in it can hold them, and with them an install."""
    try:
        mode = stat.S_IMODE(os.lstat(PACKAGE_CACHE).st_mode)
    except FileNotFoundError:
        return  # the next install makes it
    if mode & 0o077:
        yield Finding(f"{PACKAGE_CACHE} has mode {mode:04o}; it should be closed to others, with 0700", INSTALL_AGAIN)
