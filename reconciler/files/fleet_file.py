"""Reads what the agent wrote of all hosts, for the command."""

from pathlib import Path

from pydantic import ValidationError

from reconciler.core.state.fleet import MAX_FLEET_BYTES, Fleet
from reconciler.core.units import paths
from reconciler.files.snapshot_file import agent_user
from reconciler.files.untrusted import UnacceptableFileError, read_foreign_file

FLEET_FILE = Path(paths.FLEET_FILE)


class NoFleetError(Exception):
    """There is nothing to show of other hosts; the message says why."""


def read_fleet(path: Path = FLEET_FILE) -> Fleet:
    """Read what hosts report. Raises NoFleetError."""
    try:
        file = read_foreign_file(path, agent_user(paths.AGENT_USER)(), MAX_FLEET_BYTES)
        return Fleet.model_validate_json(file.content)
    except UnacceptableFileError as error:
        raise NoFleetError(str(error)) from error
    except ValidationError as error:
        raise NoFleetError(f"{path}: {error.error_count()} fields are not as they should be") from error
