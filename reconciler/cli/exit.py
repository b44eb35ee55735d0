"""How a command refuses: one sentence on stderr, and an exit code."""

import os
import sys
from typing import NoReturn

import typer

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
