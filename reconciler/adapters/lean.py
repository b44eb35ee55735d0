"""Keeps out of a daemon what it would carry and never use."""

import sys


def leave_out_rich() -> None:
    """Have structlog do without rich, which it uses for tracebacks on a terminal and imports wherever it is there.

    Call it before structlog is imported, and only in a process that prints nothing for people: 4 MB are left out.
    """
    # Python's own way to say that there is no such module.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  # None is documented, and no ModuleType
