"""Looks over who can change what root runs and goes by, and whether the users who run it can read it."""

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
"""Paths that are looked at with their targets, if they are links, and with every directory on the way."""
OURS = ("mlflow-*", "mlflow.slice*", "model-*", "model.slice*")
"""Units and their drop-in directories."""

Seen = tuple[str, os.stat_result]


def modes(_settings: Settings) -> Iterator[Finding]:
    """Find what others than root can change, and what is hidden from the users who run it."""
    program = list(_program())
    yield from _changeable(program)
    yield from _closed()
    yield from _hidden(program)
    yield from _cache()


def _changeable(program: list[Seen]) -> Iterator[Finding]:
    """Find what others than root can change: of the program the first path only, of all else every path.

    Installing again mends the whole program. It makes it anew: what others could change may have been changed.
    """
    found = list(_entrances())
    found += [path for path, status in (*program, *_goes_by()) if is_open(status)]
    found = list(dict.fromkeys(found))  # an entrance may be part of the program
    of_the_program = [path for path in found if _is_programs(path)]
    if of_the_program:
        yield Finding(f"{of_the_program[0]} can be changed by others than root", INSTALL_AGAIN)
    for path in found:
        if not _is_programs(path):
            name = shlex.quote(path)
            yield Finding(f"{path} can be changed by others than root", f"chown root {name} && chmod go-w {name}")


def _hidden(program: list[Seen]) -> Iterator[Finding]:
    """Find the first path of the program that those who run it cannot read."""
    hidden = next((path for path, status in program if _is_hidden(status)), None)
    if hidden:
        why = f"{hidden} is hidden from others than root, and {paths.AGENT_USER}, steps and models need it"
        yield Finding(why, INSTALL_AGAIN)


def _entrances() -> Iterator[str]:
    """Give, for each entrance, the first path on the way to it that others can change."""
    for entrance in ENTRANCES:
        if not os.path.exists(entrance):  # noqa: PTH110 - a name, like the others here
            continue  # what is missing is a finding of another look
        path = others_can_change(entrance)
        if path:
            yield path


def _program() -> Iterator[Seen]:
    """Give the paths of the program that are in use; former versions are not run any more."""
    top = paths.PRODUCT
    for directory in (top, f"{top}/versions", f"{top}/environments"):
        yield from _below(directory, deep=False)
    for directory in (f"{top}/current", paths.PRODUCT_VENV):
        yield from _below(os.path.realpath(directory))


def _goes_by() -> Iterator[Seen]:
    """Give the paths of what root goes by: settings, templates, units with their drop-ins, credentials."""
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
    """Give a path and what is in it, with `deep` all of it. Nobody can change what is missing or has gone meanwhile."""
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
    """Whether others than root cannot read a path, or cannot run what root runs."""
    if stat.S_ISLNK(status.st_mode):
        return False  # its own mode means nothing
    others_read = bool(status.st_mode & 0o004)
    root_runs = bool(status.st_mode & 0o100)
    others_run = bool(status.st_mode & 0o001)
    return not others_read or (root_runs and not others_run)


def _closed() -> Iterator[Finding]:
    """Find the first user who runs the program and does not get to its directory."""
    above = Path(paths.PRODUCT).parent
    from_the_root = [*reversed(above.parents), above]
    for user in (paths.AGENT_USER, paths.DEPLOY_USER, NOBODY):
        if exists(user) and not may(user, "-x", above):
            closed = next(directory for directory in from_the_root if not may(user, "-x", directory))
            yield Finding(f"{closed} is closed to {user}, who needs what is in {paths.PRODUCT}", f"chmod a+x {closed}")
            return


def _cache() -> Iterator[Finding]:
    """Find a cache of packages that others can enter: they could hold its locks, and with them an install."""
    try:
        mode = stat.S_IMODE(os.lstat(PACKAGE_CACHE).st_mode)
    except FileNotFoundError:
        return  # the next install makes it
    if mode & 0o077:
        yield Finding(f"{PACKAGE_CACHE} has mode {mode:04o}; it should be closed to others, with 0700", INSTALL_AGAIN)
