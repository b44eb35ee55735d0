"""Reads the published status; the agent and the command are other users than its writer."""

from pathlib import Path

from pydantic import ValidationError

from reconciler.core.state.status import MAX_STATUS_BYTES, Status
from reconciler.core.units import paths
from reconciler.files.untrusted import UnacceptableFileError, owner_of, read_foreign_file

STATUS_FILE = Path(paths.RUN_DIRECTORY) / "status.json"


class NoStatusError(Exception):
    """There is no status that could be shown; the message says why."""


def read_status(path: Path = STATUS_FILE) -> Status:
    """Read what the reconciler published. Raises NoStatusError."""
    try:
        # Root writes it, or the user who looks after a cluster; anything else in its place is none of their words.
        return Status.model_validate_json(read_foreign_file(path, owner_of(path.parent), MAX_STATUS_BYTES).content)
    except UnacceptableFileError as error:
        raise NoStatusError(str(error)) from error
    except ValidationError as error:
        raise NoStatusError(f"{path}: {error.error_count()} fields are not as they should be") from error
