"""Works out what a person can send to a model: from its signature, and from the example that was logged with it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from modelserver.errors import CannotServeError
from modelserver.model.diagnosis import has_type_hints
from modelserver.model.json_text import without_nan
from modelserver.model.logged_request import logged_request

MAX_SHOWN_BYTES = 64 << 10
"""Of an example that is shown; a larger one would be no help to a person."""
_DEEPEST, _MOST_COLUMNS, _MOST_ROWS = 50, 100, 5
_PART_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""Of those that mean nothing to curl, to a shell or to a terminal: a page puts them into a command to copy."""
_SCALARS = ("boolean", "integer", "long", "float", "double", "string", "datetime")


class FormKind(Enum):
    """What is filled in."""

    RECORDINGS = "recordings"
    TABLE = "table"
    JSON = "json"


@dataclass(frozen=True)
class Column:
    """A column of plain values; `type` is MLflow's word."""

    name: str
    type: str
    required: bool


@dataclass(frozen=True)
class RequestForm:
    """A request to fill in, with what the logged example says already there.

    RECORDINGS has `metadata` and the names of the recordings, `parts`; TABLE has `columns`, `rows` and `params`; JSON
    has `body`. All of it is the author's, and goes nowhere but into pages.
    """

    kind: FormKind
    metadata: dict[str, Any] = field(default_factory=dict)
    parts: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    params: dict[str, Any] = field(default_factory=dict)
    body: str = ""

    @property
    def path(self) -> str:
        """Where it is sent."""
        return "/predict" if self.kind is FormKind.RECORDINGS else "/invocations"

    def as_json(self) -> str:
        """For programs, without NaN."""
        return without_nan(json.dumps({**asdict(self), "kind": self.kind.value, "path": self.path}))


def request_form(model_dir: Path, metadata: Any, information: Mapping[str, Any], takes_files: bool) -> RequestForm:
    """The form for the model in `model_dir`.

    `metadata` is what MLflow read of its MLmodel file, `information` what that says of the logged example;
    `takes_files`: whether /predict may be for it.
    """
    recordings = _logged_recordings(model_dir / "artifacts" / "replay" / "request.json")
    if recordings is not None:
        return recordings
    example = _logged_body(model_dir, information)
    columns = _columns(metadata)
    if columns:
        return RequestForm(
            FormKind.TABLE, columns=columns, rows=_rows(example, columns), params=_params(metadata, example)
        )
    says_nothing = example is None and metadata.get_input_schema() is None
    if says_nothing and takes_files:
        return RequestForm(FormKind.RECORDINGS)
    return RequestForm(FormKind.JSON, body=without_nan(json.dumps({"inputs": []} if example is None else example)))


def _logged_recordings(file: Path) -> RequestForm | None:
    """The request that pipeline.py logged, without its recordings; None when there is none that can be shown."""
    request = _shown_json(file.read_bytes()) if file.is_file() else None
    if not isinstance(request, dict) or not isinstance(request.get("metadata"), dict):
        return None
    parts = request.get("parts")
    names = tuple(parts) if isinstance(parts, dict) else ()
    if not all(_PART_NAME.fullmatch(name) for name in names):
        return None
    return RequestForm(FormKind.RECORDINGS, metadata=request["metadata"], parts=names)


def _logged_body(model_dir: Path, information: Mapping[str, Any]) -> Any:
    """What MLflow's own example says as a body of /invocations; None when there is none that can be shown."""
    try:
        body = logged_request(model_dir, information)
    except CannotServeError:  # the replay has said it, or nobody asked for one
        return None
    return None if body is None else _shown_json(body)


def _shown_json(text: bytes) -> Any:
    if len(text) > MAX_SHOWN_BYTES:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    # What Python reads it may not be able to write again.
    return value if _is_shallow(value, _DEEPEST) else None


def _is_shallow(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return not inner or (levels > 0 and all(_is_shallow(one, levels - 1) for one in inner))


def _columns(metadata: Any) -> tuple[Column, ...]:
    """The columns of a signature that has only some, of plain values and with names; else none."""
    schema = metadata.get_input_schema()
    if schema is None or has_type_hints(metadata) or schema.is_tensor_spec() or not schema.has_input_names():
        return ()
    described = schema.to_dict()
    # Older MLflows say `optional` in place of `required`.
    columns = tuple(
        Column(str(one["name"]), str(one["type"]), bool(one.get("required", not one.get("optional", False))))
        for one in described
    )
    is_plain = all(column.type in _SCALARS for column in columns) and len(columns) <= _MOST_COLUMNS
    return columns if is_plain else ()


def _rows(example: Any, columns: tuple[Column, ...]) -> tuple[tuple[Any, ...], ...]:
    """The first rows of the example, in the order of the columns; one empty row where there are none."""
    table = example.get("dataframe_split") if isinstance(example, dict) else None
    empty = (None,) * len(columns)
    if not isinstance(table, dict) or not isinstance(table.get("columns"), list):
        return (empty,)
    data, names = table.get("data"), [str(name) for name in table["columns"]]
    if not isinstance(data, list) or not all(isinstance(row, list) and len(row) == len(names) for row in data):
        return (empty,)
    records = [dict(zip(names, row, strict=True)) for row in data[:_MOST_ROWS]]
    return tuple(tuple(_scalar(record.get(column.name)) for column in columns) for record in records) or (empty,)


def _scalar(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool)) else None


def _params(metadata: Any, example: Any) -> dict[str, Any]:
    """The parameters with their defaults, or with what the example says."""
    schema = metadata.get_params_schema()
    defaults = {} if schema is None else {str(one["name"]): one.get("default") for one in schema.to_dict()}
    logged = example.get("params") if isinstance(example, dict) else None
    return {**defaults, **logged} if isinstance(logged, dict) else defaults
