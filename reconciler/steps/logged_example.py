"""Looks in a fetched model's files for the example that its server will answer before it serves.

Nothing of the model runs: neither its code nor the server's process has a say in what is found here. The server makes
the request itself (modelserver/model/replay.py, logged_request.py); a test compares the two for each form of example.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

from reconciler.core.units.logged_example import LoggedExample

# The next four are modelserver's: neither of the two imports the other.
MAX_EXAMPLE_BYTES = 64 * 1024 * 1024
_REPLAY = "artifacts/replay/"
_SERVING_EXAMPLE = "serving_input_example.json"
_INPUT_EXAMPLE = "input_example.json"


def find_example(model: Path, files: Collection[str]) -> LoggedExample:
    """Say whether a model has an example that its server can replay.

    `files`: the paths of all its files, relative to `model`. Whether the model answers it, only the server finds out:
    it does not start if a file of the example is damaged, or if the model fails at it.
    """
    if any(path.startswith(_REPLAY) for path in files):
        return LoggedExample.LOGGED
    information = _what_mlmodel_says(model)
    request = _request_file(information, files)
    # MLflow before 2.16 logs an example that is no request yet, or whose request has another name.
    content = _read_json(model / _INPUT_EXAMPLE) if request != _SERVING_EXAMPLE and _INPUT_EXAMPLE in files else None
    if isinstance(content, dict) and content.keys() == {"data"}:
        return LoggedExample.UNUSABLE  # values without columns: MLflow itself would refuse them
    if request is not None or _can_become_a_request(content):
        return LoggedExample.LOGGED
    is_named = bool(information) or _INPUT_EXAMPLE in files
    return LoggedExample.UNUSABLE if is_named else LoggedExample.NONE


def _what_mlmodel_says(model: Path) -> Mapping[Any, Any]:
    """Read what MLflow noted of the example; {} when it noted nothing, or something else.

    `read_environment` has read the same file before, so it is not too large, and it is YAML.
    """
    document = yaml.safe_load((model / "MLmodel").read_text("utf-8-sig"))
    information = document.get("saved_input_example_info") if isinstance(document, dict) else None
    return information if isinstance(information, dict) else {}


def _request_file(information: Mapping[Any, Any], files: Collection[str]) -> str | None:
    """Return the file with a request that MLflow has logged; None when there is none."""
    for name in (information.get("serving_input_path"), _SERVING_EXAMPLE):
        is_beside_mlmodel = isinstance(name, str) and "/" not in name
        if is_beside_mlmodel and name in files:
            return str(name)
    return None


def _read_json(file: Path) -> Any:
    """Read an example that is no request; None when it is too large or damaged."""
    try:
        if file.stat().st_size > MAX_EXAMPLE_BYTES:
            return None
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        return None


def _can_become_a_request(content: Any) -> bool:
    """Whether an example that was logged alone is a table or tensors."""
    if not isinstance(content, dict):
        return False
    is_table = {"columns", "data"} <= content.keys()
    return is_table or "inputs" in content or "instances" in content
