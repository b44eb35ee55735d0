"""How a command refuses: one sentence on stderr, and an exit code."""

import os
import sys
from typing import NoReturn

import typer

from reconciler.core.units import paths

FAILED = 1
"""What was asked is refused or cannot be done; `check`: there are faults."""
MISUSED = 2
"""The command line itself is wrong: the same command can never work."""
WAITING = 2
"""`plan`: there is something to do, a unit is under way, or a plan waits for `reconciler apply PLAN`. `apply` without a
plan or an option: something waits for a confirmation."""


def refuse(message: str, code: int) -> NoReturn:
    """Print why the command cannot be done, and end it with exit code `code`."""
    sys.stderr.write(f"{message}\n")
    raise typer.Exit(code)


def need_root(what: str, why: str = "it looks at what only root may see") -> None:
    """End the command unless root runs it. `what` follows "cannot"."""
    if os.geteuid() != 0:
        refuse(f"cannot {what}: {why}; run it with sudo", FAILED)


def become_the_reconciler(what: str, why: str = "it looks at what only root may see") -> None:
    """End the command unless root runs it, and go on as the user that the reconciler runs as.

    That is root, or on a host that looks after a cluster a user without rights. Each writes its files for itself.
    """
    need_root(what, why)
    try:
        directory = os.stat(paths.RUN_DIRECTORY)  # noqa: PTH116 - pathlib is not imported otherwise
    except FileNotFoundError:
        return  # it does not run; who reads its files next says so
    os.setegid(directory.st_gid)
    os.seteuid(directory.st_uid)
