"""Where requests of people are, and the answer to one: what the command and the reconciler both know of them.

Alone, so that the command need not import how a request is carried out.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field

from reconciler.core.text.strict import StrictModel
from reconciler.core.units import paths

REQUESTS = Path(paths.RUN_DIRECTORY) / "requests"
"""In memory: going back must not need a disk."""
MAX_BYTES = 16 * 1024


class RequestAnswer(StrictModel):
    """What became of a request."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    ok: bool
    message: str
