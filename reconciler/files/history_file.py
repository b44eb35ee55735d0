"""The history on disk: one file of root's, replaced as a whole, and the audit log, which is only added to."""

import socket
from pathlib import Path

import structlog
from pydantic import ValidationError

from reconciler.core.state.audit_entries import caught_up
from reconciler.core.state.history import History
from reconciler.core.units import paths
from reconciler.files.atomic import in_words, put_aside, replace_file
from reconciler.files.audit_file import AuditFile
from reconciler.files.untrusted import MissingFileError, UnacceptableFileError, read_own_file

log = structlog.get_logger()

HISTORY_FILE = Path(paths.STATE_DIRECTORY) / "history.json"
MAX_HISTORY_BYTES = 16 * 1024 * 1024


class UnusableHistoryError(Exception):
    """The file cannot be used; the message says why."""


def read_history(path: Path = HISTORY_FILE) -> History:
    """Read the history; an empty one where nothing ever ran. Raises UnusableHistoryError."""
    try:
        return History.model_validate_json(read_own_file(path, MAX_HISTORY_BYTES))
    except MissingFileError:
        return History(schema=1)
    except UnacceptableFileError as error:
        raise UnusableHistoryError(str(error)) from error
    except ValidationError as error:
        raise UnusableHistoryError(f"{path}: {error.error_count()} fields are not as they should be") from error


class HistoryFile:
    """What ran here. Nothing depends on it, so a failure to read or write it never ends a pass.

    Invariant: an entry is in the history on disk before it is in the log, and leaves the history after. So a crash in
    between neither loses one nor has it in the log twice.
    """

    def __init__(self, path: Path, audit: AuditFile) -> None:
        """Go on from what `path` holds. An unusable file is put aside for people, and the history begins anew."""
        self._path = path
        self._audit = audit
        self._host = socket.gethostname()
        self.problem = ""
        """Why the history or the log is not on disk, in a sentence; "" when both are."""
        try:
            self._on_disk = read_history(path)
        except UnusableHistoryError as error:
            self._on_disk = History(schema=1)
            try:
                aside = put_aside(path)
            except OSError:
                aside = path  # it stays where it is until the next write replaces it
            log.warning(f"cannot use the history: {error}; it begins anew. See {aside}")
        self.history = caught_up(self._on_disk, audit.last_number, self._host)

    @property
    def host(self) -> str:
        """The name of this host, for entries of the log."""
        return self._host

    def write(self, history: History) -> None:
        """Replace the history, and add what is new to the log; if that fails, the next call tries again."""
        self.history = history
        problem = self._try_to_write()
        if problem and problem != self.problem:  # a full disk stays full for many passes
            log.error(f"{problem}; it is tried again")
        self.problem = problem

    def _try_to_write(self) -> str:
        """Write what is not on disk yet, and return why that failed; "" when it did not. Most passes change nothing."""
        try:
            if self.history is not self._on_disk:
                content = self.history.model_dump_json(by_alias=True).encode() + b"\n"
                replace_file(self._path, content, 0o600)
                self._on_disk = self.history
        except OSError as error:
            return f"cannot keep the history: {in_words(error)}"
        if not self.history.unaudited:
            return ""
        try:
            self._audit.append(self.history.unaudited)
        except OSError as error:
            return f"cannot write the audit log: {in_words(error)}"
        # On the disk they go with the next change. Until then their numbers tell that they are in the log.
        self.history = self._on_disk = self.history.model_copy(update={"unaudited": ()})
        return ""
