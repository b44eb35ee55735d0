"""What `reconciler status` printed on a real host for each state, and the documents that it printed that from.

The documents are kept in recorded/. The text is laid out from them by the command's own code, so a page that is made
from them shows what the command prints today.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from pydantic import AwareDatetime, BaseModel

from reconciler.cli.status.overview import overview
from reconciler.cli.status.page_text import page_text
from reconciler.core.state.page import DeploymentPage
from reconciler.core.state.status import State, Status

RECORDED = Path(__file__).with_name("recorded")
COLUMNS = 80
_TERMINAL = {"TZ": "UTC", "NO_COLOR": "1"}


class Scene(BaseModel):
    """One deployment in one state, at one moment."""

    happened: str
    """What had been done before, in a sentence."""
    at: AwareDatetime
    status: Status
    page: DeploymentPage

    @property
    def name(self) -> str:
        """The deployment's name."""
        return self.page.deployment.name

    def table(self) -> list[str]:
        """What `reconciler status` prints."""
        return overview(self.status, COLUMNS, self.at)

    def one(self) -> list[str]:
        """What `reconciler status NAME` prints."""
        return page_text(self.page, COLUMNS, self.at)


def scene(state: State) -> Scene:
    """Read the recorded scene of a state. Raises FileNotFoundError where none was recorded."""
    return Scene.model_validate_json(path_of(state).read_bytes())


def path_of(state: State) -> Path:
    """Say where the scene of a state is."""
    return RECORDED / f"{state}.json"


@contextmanager
def as_recorded() -> Iterator[None]:
    """Have times written as the recording host wrote them, in UTC, and without colours."""
    before = {key: os.environ.get(key) for key in _TERMINAL}
    os.environ.update(_TERMINAL)
    time.tzset()
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                del os.environ[key]
            else:
                os.environ[key] = value
        time.tzset()


def moment_of(text: list[str], document: DeploymentPage, begin: datetime, end: datetime) -> datetime | None:
    """Find the moment between two at which the page of a document is this text; None where it never is."""
    step = (end - begin) / 200
    with as_recorded():
        moments = (begin + step * number for number in range(201))
        return next((moment for moment in moments if page_text(document, COLUMNS, moment) == text), None)
