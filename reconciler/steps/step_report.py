"""How a release step ends, and how it says so: one plain line, the same in the journal and in the unit's status."""

import sys
from typing import NoReturn

from reconciler.adapters.journal import MAX_STATUS, notify
from reconciler.core.text.quote import one_line


class StepError(Exception):
    """The step cannot be done; the message is `cannot …: why; do …`, written for the person who made the model."""


def say(line: str) -> None:
    """Print one plain line; the unit's LogExtraFields= say which model it is about."""
    print(one_line(line, 2000), flush=True)  # noqa: T201 - stdout is this program's way into the journal


def report(line: str) -> None:
    """Say how things stand: a line in the journal and the unit's StatusText."""
    line = one_line(line, MAX_STATUS)
    say(line)
    notify(STATUS=line)


def fail(line: str) -> NoReturn:
    """End the process as a failed step."""
    report(line)
    sys.exit(1)
