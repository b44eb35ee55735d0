"""The last plan that somebody asked the reconciler for: a file of root's, for the command that asked."""

from pathlib import Path

from pydantic import ValidationError

from reconciler.core.state.plan_document import ShownPlan
from reconciler.core.units import paths
from reconciler.files.atomic import replace_file
from reconciler.files.untrusted import UnacceptableFileError, read_own_file

PLAN_FILE = Path(paths.RUN_DIRECTORY) / "plan.json"
MAX_PLAN_BYTES = 64 * 1024 * 1024


class NoPlanError(Exception):
    """There is no plan that could be shown; the message says why."""


def write_plan(plan: ShownPlan, path: Path = PLAN_FILE) -> None:
    """Replace the plan. Raises OSError."""
    replace_file(path, plan.model_dump_json(by_alias=True).encode(), 0o600)


def read_plan(path: Path = PLAN_FILE) -> ShownPlan:
    """Read what the reconciler wrote. Raises NoPlanError."""
    try:
        return ShownPlan.model_validate_json(read_own_file(path, MAX_PLAN_BYTES))
    except UnacceptableFileError as error:
        raise NoPlanError(str(error)) from error
    except ValidationError as error:
        raise NoPlanError(f"{path}: {error.error_count()} fields are not as they should be") from error
