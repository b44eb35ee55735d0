"""Reports how a release step ends: one plain line, the same in the journal and in the unit's status."""

import sys
from typing import NoReturn

from reconciler.adapters.journal import MAX_STATUS, notify
from reconciler.core.text.quote import one_line


class StepError(Exception):
    """The step cannot be done; the message is `cannot …: why; remedy`, written for the person who made the model."""


def print_line(line: str) -> None:
    """Print one plain line; the unit's LogExtraFields= say which model it is about."""
    print(one_line(line, 2000), flush=True)  # noqa: T201 - stdout is this program's way into the journal


def report_status(line: str) -> None:
    """Report how things stand, in the journal and as the unit's StatusText, where the reconciler reads it."""
    line = one_line(line, MAX_STATUS)
    print_line(line)
    notify(STATUS=line)


def fail(line: str) -> NoReturn:
    """Report why the step cannot be done, and end the process with 1."""
    report_status(line)
    sys.exit(1)
