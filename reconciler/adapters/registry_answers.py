"""Which answers to a search of the registry are MLflow's, and which its client would take for an empty registry.

A newer server may say more than this one knows: fields, states and stages that are not known here are no reason to
refuse an answer. What is relied on must be there, in the form that MLflow gives it.
"""

from collections.abc import Callable, Iterable
from typing import Any

TOKEN = "next_page_token"  # noqa: S105 - a field's name, no secret
LISTS = {"/registered-models/search": "registered_models", "/model-versions/search": "model_versions"}
"""The list that each search answers with."""


def is_odd(path: str, document: object) -> bool:
    """Tell whether a JSON document is no answer of MLflow's to a search at this path."""
    wanted = next(name for end, name in LISTS.items() if path.endswith(end))
    if not isinstance(document, dict) or "error_code" in document:
        return True
    if not isinstance(document.get(TOKEN, ""), str | None):
        return True
    if wanted not in document:
        # MLflow leaves an empty list out; with anything unknown beside it, the list may have another name by now.
        return not document.keys() <= {TOKEN}
    return not _is_list(document[wanted], _is_model if wanted == "registered_models" else _is_version)


def _is_list(found: object, is_entry: Callable[[dict[str, Any]], bool]) -> bool:
    return isinstance(found, list) and all(isinstance(entry, dict) and is_entry(entry) for entry in found)


def _is_model(entry: dict[str, Any]) -> bool:
    return (
        _has_text(entry, "name")
        and _is_list(entry.get("latest_versions", []), _is_version)
        and _is_list(entry.get("aliases", []), lambda alias: _has_text(alias, "alias", "version"))
        and _has_tags(entry)
    )


def _is_version(entry: dict[str, Any]) -> bool:
    return _has_text(entry, "name", "version", "status") and _has_tags(entry)


def _has_tags(entry: dict[str, Any]) -> bool:
    # MLflow leaves the value out where it is empty.
    return _is_list(entry.get("tags", []), lambda tag: _has_text(tag, "key") and isinstance(tag.get("value", ""), str))


def _has_text(entry: dict[str, Any], *fields: str) -> bool:
    values: Iterable[object] = map(entry.get, fields)
    return all(isinstance(value, str) and value for value in values)
