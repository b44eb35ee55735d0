"""Tells answers of MLflow from others, which its client would take for an empty registry.

A newer server may say more: unknown fields, states and stages are no reason to refuse an answer. The fields that this
product relies on must be there, in MLflow's form.
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
    has_odd_token = not isinstance(document.get(TOKEN, ""), str | None)
    if has_odd_token:
        return True
    if wanted not in document:
        # MLflow leaves an empty list out; with anything unknown beside it, the list may have another name by now.
        return not document.keys() <= {TOKEN}
    is_entry = _is_model if wanted == "registered_models" else _is_version
    return not _is_list(document[wanted], is_entry)


def _is_list(found: object, is_entry: Callable[[dict[str, Any]], bool]) -> bool:
    if not isinstance(found, list):
        return False
    return all(isinstance(entry, dict) and is_entry(entry) for entry in found)


def _is_model(entry: dict[str, Any]) -> bool:
    has_versions = _is_list(entry.get("latest_versions", []), _is_version)
    has_aliases = _is_list(entry.get("aliases", []), _is_alias)
    return _has_text(entry, "name") and has_versions and has_aliases and _has_tags(entry)


def _is_alias(entry: dict[str, Any]) -> bool:
    return _has_text(entry, "alias", "version")


def _is_version(entry: dict[str, Any]) -> bool:
    return _has_text(entry, "name", "version", "status") and _has_tags(entry)


def _has_tags(entry: dict[str, Any]) -> bool:
    return _is_list(entry.get("tags", []), _is_tag)


def _is_tag(entry: dict[str, Any]) -> bool:
    # MLflow leaves the value out where it is empty.
    return _has_text(entry, "key") and isinstance(entry.get("value", ""), str)


def _has_text(entry: dict[str, Any], *fields: str) -> bool:
    values: Iterable[object] = map(entry.get, fields)
    return all(isinstance(value, str) and value for value in values)
