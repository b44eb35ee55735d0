"""Reads the last lines that the reconciler and the agent wrote about a deployment."""

import json
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime

from reconciler.core.state.as_of_now import AGENT, RECONCILER
from reconciler.core.state.page import Event
from reconciler.core.text.quote import one_line

LINES = 8
_SECONDS = 20
_MAX_MESSAGE = 1000


def events_of(name: str) -> tuple[Event, ...] | None:
    """Return the last events of a deployment, the latest last; None where the journal cannot be read.

    For a user who may not read the journal it looks empty.
    """
    # The fields with an underscore are the journal's own: a model cannot write lines that pass for the reconciler's.
    units = (f"_SYSTEMD_UNIT={unit}" for unit in (RECONCILER, AGENT))
    what = (f"MODEL={name}", *units, "--priority=info", f"--lines={LINES}")
    command = ["journalctl", "--quiet", "--no-pager", "--output=json", "--output-fields=MESSAGE", *what]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603 - no shell
    except (OSError, subprocess.TimeoutExpired):
        return None
    return tuple(_events(done.stdout)) or None


def _events(lines: str) -> Iterator[Event]:
    for line in lines.splitlines():
        try:
            entry = json.loads(line)
            at = datetime.fromtimestamp(int(entry["__REALTIME_TIMESTAMP"]) / 1e6, UTC)
            message = entry["MESSAGE"]
        except (ValueError, KeyError, TypeError):
            continue  # an entry that was cut off while it was written
        if isinstance(message, str):
            yield Event(at=at, message=one_line(message, _MAX_MESSAGE))
