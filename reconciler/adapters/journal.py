"""Writes structured lines to the journal (or to a terminal), and notices to systemd."""

import os
import sys
from collections.abc import Mapping
from typing import Any

import structlog

from reconciler.core.text.quote import one_line, printable
from systemd import daemon  # type: ignore[attr-defined]  # Debian ships it without types
from systemd import journal as systemd_journal  # type: ignore[attr-defined]  # the same

MAX_STATUS = 400
MAX_SENTENCE = 2000

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


def configure(identifier: str) -> None:
    """Send every line of structlog to the journal as `identifier`, or to stderr where no journal is connected.

    `log.info("sentence", MODEL=..., MODEL_VERSION=..., MESSAGE_ID=...)`: upper-case keys become fields of the entry
    (OBJECT_SYSTEMD_UNIT shows it in that unit's own log, PRIORITY overrides the level's), other keys are appended
    to the sentence.
    """
    has_journal = "JOURNAL_STREAM" in os.environ  # systemd sets it where it connects stderr to the journal
    output = _Journal(identifier) if has_journal else _Terminal(identifier)
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.format_exc_info, _as_entry],
        logger_factory=lambda *_: output,
        wrapper_class=structlog.make_filtering_bound_logger(0),
        cache_logger_on_first_use=False,
    )


def notify(**fields: str) -> None:
    """Notify systemd, as `notify(READY="1", STATUS="…")`; does nothing without $NOTIFY_SOCKET."""
    if "STATUS" in fields:
        fields["STATUS"] = one_line(fields["STATUS"], MAX_STATUS)
    daemon.notify("\n".join(f"{key}={value}" for key, value in fields.items()))


def _as_entry(_logger: object, _method: str, event: structlog.typing.EventDict) -> tuple[tuple[str], dict[str, Any]]:
    """Split an event into its sentence and the fields of the entry."""
    level = event.pop("level", "info")
    words = [one_line(str(event.pop("event", "")), MAX_SENTENCE)]
    fields = {key: value for key, value in event.items() if key.isupper()}
    # Other keys, such as structlog's own `exception`, are for people and no fields of the entry.
    words += [f"{key}={_printable_lines(str(value))}" for key, value in event.items() if not key.isupper()]
    fields.setdefault("PRIORITY", _PRIORITIES.get(level, 6))
    return (" ".join(words),), fields


def _printable_lines(text: str) -> str:
    """Make a traceback printable, line by line."""
    return "\n".join(printable(line) for line in text.split("\n"))


class _Output:
    """A logger whose every level writes one entry; the level is already in PRIORITY."""

    def __init__(self, identifier: str) -> None:
        self._identifier = identifier

    def info(self, sentence: str, **fields: object) -> None:
        known = {key: value for key, value in fields.items() if value is not None}
        self._write(sentence, {key: one_line(str(value)) for key, value in known.items()})

    debug = warning = error = critical = msg = info

    def _write(self, sentence: str, fields: Mapping[str, str]) -> None:
        raise NotImplementedError


class _Journal(_Output):
    def _write(self, sentence: str, fields: Mapping[str, str]) -> None:
        systemd_journal.send(sentence, SYSLOG_IDENTIFIER=self._identifier, **fields)


class _Terminal(_Output):
    def _write(self, sentence: str, fields: Mapping[str, str]) -> None:
        about = " ".join(f"{key}={fields[key]}" for key in ("MODEL", "MODEL_VERSION") if key in fields)
        end = f" [{about}]" if about else ""
        print(f"{self._identifier}: {sentence}{end}", file=sys.stderr, flush=True)  # noqa: T201 - this is where lines come out
