"""The history on disk: one file of root's, replaced as a whole."""

from pathlib import Path

import structlog
from pydantic import ValidationError

from reconciler.core.state.history import History
from reconciler.core.units import paths
from reconciler.files.atomic import in_words, put_aside, replace_file
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
    """What ran here. Nothing depends on it, so a failure to read or write it never ends a pass."""

    def __init__(self, path: Path = HISTORY_FILE) -> None:
        """Go on from what `path` holds. An unusable file is put aside for people, and the history begins anew."""
        self._path = path
        self._complaint = ""
        try:
            self.history = read_history(path)
        except UnusableHistoryError as error:
            self.history = History(schema=1)
            try:
                aside = put_aside(path)
            except OSError:
                aside = path  # it stays where it is until the next write replaces it
            log.warning(f"cannot use the history: {error}; it begins anew. See {aside}")
        self._on_disk = self.history

    def write(self, history: History) -> None:
        """Replace the history; if that fails, the next call tries again."""
        self.history = history
        if history is self._on_disk:  # most passes change nothing
            return
        try:
            replace_file(self._path, history.model_dump_json(by_alias=True).encode() + b"\n", 0o600)
        except OSError as error:
            complaint = f"cannot keep the history: {in_words(error)}; it is tried again"
            if complaint != self._complaint:  # a full disk stays full for many passes
                log.warning(complaint)
            self._complaint = complaint
            return
        self._on_disk = history
        self._complaint = ""
