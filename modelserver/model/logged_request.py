"""Finds the example that MLflow itself logged with a model, and makes the request of it that it stands for.

`reconciler/steps/logged_example.py` tells without this server whether there is one. A test compares the two.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from modelserver.errors import CannotServeError, one_line

CORRECT_IT = "correct the model and register a new version"
MAX_EXAMPLE_BYTES = 64 * 1024 * 1024
"""Of an example that is no request yet. As a request it would be larger than what clients may send."""
_SERVING_EXAMPLE = "serving_input_example.json"
_INPUT_EXAMPLE = "input_example.json"


def logged_request(model_dir: Path, information: Mapping[str, Any]) -> bytes | None:
    """MLflow's own logged example as a body of /invocations, or None when the model has none that can be one.

    `information`: what the MLmodel file says of it. Raises CannotServeError.
    """
    request = _request_file(model_dir, information)
    example = model_dir / _INPUT_EXAMPLE
    # MLflow before 2.16 logs the example alone, or names the request otherwise: then the example is looked at.
    is_certain = request is not None and request.name == _SERVING_EXAMPLE
    content = None if is_certain or not example.is_file() else _read_json(example)
    if _is_refused_by_mlflow(content):
        return None
    if request is not None:
        return request.read_bytes()
    body = _request_of_example(content, with_params=information.get("params") in ("true", True))
    return json.dumps(body).encode() if body is not None else None


def _request_file(model_dir: Path, information: Mapping[str, Any]) -> Path | None:
    """The file with a request that MLflow has logged; None when there is none."""
    for name in (information.get("serving_input_path"), _SERVING_EXAMPLE):
        # The MLmodel file is the author's: a path in it could name any file that this process may read.
        if isinstance(name, str) and name and Path(name).name == name and (model_dir / name).is_file():
            return model_dir / name
    return None


def _read_json(file: Path) -> Any:
    """What an example says; None when it is too large to be looked at. Raises CannotServeError."""
    if file.stat().st_size > MAX_EXAMPLE_BYTES:
        return None
    try:
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CannotServeError(f"cannot read the logged example: {one_line(str(error))}; {CORRECT_IT}") from error


def _is_refused_by_mlflow(example: Any) -> bool:
    """Whether it was logged of lists of lists: MLflow infers a signature from them that refuses them."""
    return isinstance(example, dict) and example.keys() == {"data"}


def _request_of_example(content: Any, with_params: bool) -> dict[str, Any] | None:
    """The request that is made of an example which was logged alone, a table or tensors; None when none can be made.

    `with_params`: MLflow has put what it would have written without them below another `inputs`.
    """
    if not isinstance(content, dict):
        return None
    if with_params and content.keys() == {"inputs", "params"}:
        return _request_with_params(content)
    if {"columns", "data"} <= content.keys():
        return {"dataframe_split": content}
    return content if "inputs" in content or "instances" in content else None


def _request_with_params(content: dict[str, Any]) -> dict[str, Any]:
    inputs, params = content["inputs"], {"params": content["params"]}
    if not isinstance(inputs, dict):
        return content
    is_table = "data" in inputs and inputs.keys() <= {"columns", "data", "index"}
    if is_table:
        return {"dataframe_split": inputs, **params}
    is_tensor = inputs.keys() == {"inputs"}
    return {**inputs, **params} if is_tensor else content
