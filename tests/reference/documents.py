"""docs/reference/json.md: the fields of the documents for programs, from their schemas in docs/."""

import json
from collections.abc import Iterator
from typing import Any

from tests.reference.text import MADE, fold, item, markdown, page
from tests.schemas import DOCS, DOCUMENTS

_WORDS = {"State": "a [state](states.md#states)", "Reason": "a [reason](states.md#reasons)"}


def json_page() -> str:
    """Write docs/reference/json.md."""
    return page(
        "# JSON documents",
        MADE,
        fold(
            "Each document has a JSON schema, which a program can check it by. Fields are added; none is renamed or "
            "removed while `schema` is 1. A program should pass over fields and words that it does not know."
        ),
        *(block for name in DOCUMENTS for block in _document(name)),
        "## Parts of them",
        *(block for name, fields in sorted(_parts().items()) for block in (f"### {name}", _fields(fields))),
    )


def _schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DOCS / name).read_text())
    return found


def _document(name: str) -> Iterator[str]:
    schema = _schema(name)
    yield f"## {schema['title']}"
    yield f"Its schema is [{name}](../{name})."
    yield _fields(schema["properties"])


def _parts() -> dict[str, dict[str, Any]]:
    """Collect the fields of what is in the documents, by name; a part is the same in each of them."""
    found: dict[str, dict[str, Any]] = {}
    for name in DOCUMENTS:
        found |= {part: about["properties"] for part, about in _schema(name)["$defs"].items() if "properties" in about}
    return found


def _fields(properties: dict[str, Any]) -> str:
    return "\n".join(_field(name, about) for name, about in properties.items())


def _field(name: str, about: dict[str, Any]) -> str:
    kind = f"`{name}`, {_kind(about)}"
    told = about.get("description", "")
    return item(kind, markdown(told)) if told else fold(kind, "- ", "  ")


def _kind(about: dict[str, Any]) -> str:
    """Name the type of a field in words."""
    if "anyOf" in about:
        return " or ".join(_kind(one) for one in about["anyOf"])
    if "$ref" in about:
        part = about["$ref"].rpartition("/")[2]
        if part in _WORDS:
            return _WORDS[part]
        return f"[{part}](#{part.lower()})"
    if "const" in about:
        return f"`{json.dumps(about['const'])}`"
    if "enum" in about:
        return " or ".join(f"`{json.dumps(one)}`" for one in about["enum"])
    if about["type"] == "array":
        return f"list of {_kind(about['items'])}"
    return "moment" if about.get("format") == "date-time" else str(about["type"])
