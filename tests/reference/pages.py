"""Every page that is made from the code, by its path in docs/, with what writes it."""

from collections.abc import Callable
from pathlib import Path

from tests.reference.command import command_page
from tests.reference.documents import json_page
from tests.reference.journal import journal_page
from tests.reference.man import command_man, settings_man
from tests.reference.settings import settings_page
from tests.reference.states import states_page
from tests.reference.tags import tags_page

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES: dict[str, Callable[[], str]] = {
    "man/reconciler.1": command_man,
    "man/mlflow-reconciler.toml.5": settings_man,
    "reference/command.md": command_page,
    "reference/settings.md": settings_page,
    "reference/states.md": states_page,
    "reference/tags.md": tags_page,
    "reference/journal.md": journal_page,
    "reference/json.md": json_page,
}
