"""docs/reference/journal.md: the fields of the entries in the journal, and what the catalog explains."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.reference.text import MADE, fold, item, markdown, page

CHECKOUT = Path(__file__).parents[2]
CATALOG = CHECKOUT / "systemd" / "mlflow-reconciler.catalog"
LEVELS = ("debug", "info", "warning", "error", "exception", "critical")
FIELDS = {
    "MODEL": "The deployment that the entry is about. Its servers, its steps and its bridge have the field, too.",
    "MODEL_VERSION": "The version that the entry is about.",
    "MESSAGE_ID": "The kind of event, which `journalctl -x` explains; it is the same for ever. All of them are below.",
    "OBJECT_SYSTEMD_UNIT": "The unit that an action was about: the entry is in `journalctl -u UNIT`, too.",
    "PRIORITY": "syslog's level: 7 for actions, 6 for events, 4 for what somebody should look at, 3 for faults.",
    "SYSLOG_IDENTIFIER": "Who wrote it: `reconciler`, `registry-agent`, `nats-bridge`, `fetch`, `build`, `verify`, "
    "`keep`, and `model-NAME` for what a server or the model itself prints.",
}


@dataclass(frozen=True)
class Entry:
    """One explanation of the catalog."""

    id: str
    subject: str
    paragraphs: tuple[str, ...]


def catalog() -> tuple[Entry, ...]:
    """Read the catalog, in its order."""
    parts = re.split(r"^-- ([0-9a-f]{32})\n", CATALOG.read_text(), flags=re.MULTILINE)[1:]
    return tuple(_entry(one, text) for one, text in zip(parts[::2], parts[1::2], strict=True))


def _entry(one: str, text: str) -> Entry:
    head, *paragraphs = text.strip().split("\n\n")
    subject = re.findall(r"^Subject: (.*)$", head, re.MULTILINE)[0]
    return Entry(one, subject, tuple(" ".join(paragraph.split()) for paragraph in paragraphs))


def written_fields() -> set[str]:
    """Collect the fields that the code gives to entries, and the units to what their processes print."""
    found = {"SYSLOG_IDENTIFIER", "PRIORITY"}
    for path in (CHECKOUT / "reconciler").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and _logs(node.func):
                found |= {keyword.arg for keyword in node.keywords if keyword.arg and keyword.arg.isupper()}
    for path in (CHECKOUT / "templates").rglob("*.j2"):
        found |= set(re.findall(r"^LogExtraFields=(\w+)=", path.read_text(), re.MULTILINE))
    return found


def _logs(function: ast.expr) -> bool:
    return isinstance(function, ast.Attribute) and function.attr in LEVELS


def journal_page() -> str:
    """Write docs/reference/journal.md."""
    return page(
        "# The journal",
        MADE,
        fold(
            "`reconciler logs NAME` and `journalctl MODEL=NAME` show everything about a deployment; `-x` adds the "
            "explanations below. [troubleshooting.md](../troubleshooting.md) shows how to read it."
        ),
        "## Fields",
        [item(f"`{name}`", about) for name, about in FIELDS.items()],
        "## MESSAGE_ID",
        *(block for one in catalog() for block in _explained(one)),
    )


def _explained(one: Entry) -> Iterator[str]:
    yield f"### {_named(one.subject)}"
    yield f"`MESSAGE_ID={one.id}`"
    for paragraph in one.paragraphs:
        yield fold(markdown(_named(paragraph)))


def _named(text: str) -> str:
    """Put a word for people where the catalog has a field."""
    return text.replace("@MODEL@", "NAME").replace("@MODEL_VERSION@", "VERSION")
