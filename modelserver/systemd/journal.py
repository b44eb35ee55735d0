"""Writes the server's log lines so that the journal keeps their priority (`<N>` prefixes of sd-daemon)."""

from __future__ import annotations

import io
import logging
import os
import sys
import warnings
from typing import TextIO

_ADVICE = "Add type hints to the `predict` method"
_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.DEBUG, 7))


class PriorityFormatter(logging.Formatter):
    """Prefixes every line, those of a traceback too: the journal makes an entry of each."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as lines that each carry the record's priority."""
        priority = next((number for level, number in _PRIORITIES if record.levelno >= level), 7)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


def log_to_standard_error() -> None:
    """Sends warnings of everything and the server's own information to stderr, prefixed when the journal reads it."""
    # Into a pipe, Python would keep what a model prints until a buffer of 8 KiB is full.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    handler = logging.StreamHandler(sys.stderr)
    # systemd sets it where the journal reads stderr; a person at a terminal would only be puzzled by the prefixes.
    if "JOURNAL_STREAM" in os.environ:
        handler.setFormatter(PriorityFormatter("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("modelserver").setLevel(logging.INFO)
    # A body that is not multipart is the client's mistake, and the client is told.
    for name in ("multipart", "python_multipart"):
        logging.getLogger(name).setLevel(logging.ERROR)


def leave_out_advice() -> None:
    """Drops MLflow's advice for whoever writes a `predict`: who reads this journal cannot follow it.

    MLflow sets warnings' filters anew, so a filter is not enough.
    """
    show = warnings.showwarning

    def show_others(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if _ADVICE not in str(message):
            show(message, category, filename, lineno, file, line)

    warnings.showwarning = show_others


def silence_mlflow() -> None:
    """Drops MLflow's warnings once the model is loaded; what the model's own code logs stays."""
    # Until then they were of the model. From here on they would be of requests: any client could fill the journal
    # with them, and some quote the request.
    logging.getLogger("mlflow").setLevel(logging.ERROR)
