"""How a command refuses: one sentence on stderr, and an exit code."""

import os
import sys
from typing import NoReturn

import typer

FAILED = 1
MISUSED = 2
"""What was typed cannot be meant."""


def refuse(message: str, code: int) -> NoReturn:
    """End the command."""
    sys.stderr.write(f"{message}\n")
    raise typer.Exit(code)


def need_root(what: str, why: str = "it looks at what only root may see") -> None:
    """End the command unless root runs it."""
    if os.geteuid() != 0:
        refuse(f"cannot {what}: {why}; run it with sudo", FAILED)
