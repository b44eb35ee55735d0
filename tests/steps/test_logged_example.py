"""What a fetch says of a model's example is what its server does with it, for each form that an example has."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from modelserver.errors import CannotServeError
from modelserver.model.logged_request import MAX_EXAMPLE_BYTES, logged_request
from reconciler.core.units.logged_example import LoggedExample
from reconciler.steps import logged_example
from reconciler.steps.logged_example import find_example

INPUT, SERVING, PAYLOAD = "input_example.json", "serving_input_example.json", "serving_input_payload.json"
TABLE = {"columns": ["age"], "data": [[23]]}
SPLIT = {"type": "dataframe", "pandas_orient": "split", "artifact_path": INPUT}
NAMED = SPLIT | {"serving_input_path": PAYLOAD}
LOGGED, NONE, UNUSABLE = LoggedExample
# What MLmodel notes of the example, the files, and what is to be said.
FORMS: dict[str, tuple[object, dict[str, object], LoggedExample]] = {
    "nothing": (None, {}, NONE),
    "MLflow's own request": (
        SPLIT | {"serving_input_path": SERVING},
        {INPUT: TABLE, SERVING: {"dataframe_split": TABLE}},
        LOGGED,
    ),
    "a request of which MLmodel says nothing": (None, {SERVING: {"inputs": [1]}}, LOGGED),
    "a request under another name": (NAMED, {INPUT: TABLE, PAYLOAD: {"dataframe_split": TABLE}}, LOGGED),
    "a table alone": (SPLIT, {INPUT: TABLE}, LOGGED),
    "a table with params": (SPLIT | {"params": "true"}, {INPUT: {"inputs": TABLE, "params": {"a": 1}}}, LOGGED),
    "tensors": ({"type": "ndarray"}, {INPUT: {"inputs": {"a": [1.0]}}}, LOGGED),
    "instances": ({"type": "ndarray"}, {INPUT: {"instances": [{"a": 1.0}]}}, LOGGED),
    "params alone": (SPLIT | {"params": "true"}, {INPUT: {"params": {"a": 1}}}, UNUSABLE),
    "values without columns": (
        NAMED,
        {INPUT: {"data": [[1]]}, PAYLOAD: {"dataframe_split": {"data": [[1]]}}},
        UNUSABLE,
    ),
    "a list": ({"type": "json_object"}, {INPUT: [[1, 2]]}, UNUSABLE),
    "a text": ({"type": "json_object"}, {INPUT: "hello"}, UNUSABLE),
    "a sparse matrix": ({"type": "sparse_matrix_csr"}, {"input_example.sparse_matrix": [1]}, UNUSABLE),
    "a file that is gone": (SPLIT, {}, UNUSABLE),
    "a request that is gone, beside its material": (NAMED, {INPUT: TABLE}, LOGGED),
    "a request elsewhere": (SPLIT | {"serving_input_path": "deep/x.json"}, {"deep/x.json": {"inputs": [1]}}, UNUSABLE),
    "a request outside": (SPLIT | {"serving_input_path": "../x"}, {}, UNUSABLE),
    "a path that is a number": (SPLIT | {"serving_input_path": 5}, {}, UNUSABLE),
    "a path that is a list": (SPLIT | {"serving_input_path": [SERVING]}, {}, UNUSABLE),
    "a note that is a text": ("yes", {}, NONE),
    "a note that is a list": ([1], {INPUT: TABLE}, LOGGED),
    "damaged JSON": (SPLIT, {INPUT: b"{"}, UNUSABLE),
    "JSON that is too deep": (SPLIT, {INPUT: b"[" * 200_000}, UNUSABLE),
    "JSON in another encoding": (SPLIT, {INPUT: b"\xff\xfe\x00"}, UNUSABLE),
    "damaged JSON beside a request": (NAMED, {INPUT: b"{", PAYLOAD: {"inputs": [1]}}, LOGGED),
    "a folder by the name of an example": (None, {f"{SERVING}/x": 1, f"{INPUT}/x": 1}, NONE),
}


def model(directory: Path, information: object, files: dict[str, object]) -> list[str]:
    """Write a model's files and list them as a fetch does."""
    written = {"MLmodel": yaml.safe_dump({"saved_input_example_info": information} if information else {}).encode()}
    for name, content in files.items():
        written[name] = content if isinstance(content, bytes) else json.dumps(content).encode()
    for name, raw in written.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(raw)
    return list(written)


def replayed(directory: Path, information: object) -> bool | None:
    """Whether the server has a request to replay; None where it does not start."""
    # As ScoringModel reads it off MLflow's metadata.
    noted: dict[str, Any] = information if isinstance(information, dict) else {}
    try:
        return logged_request(directory, noted) is not None
    except CannotServeError:
        return None


@pytest.mark.parametrize("form", FORMS)
def test_a_fetch_says_of_an_example_what_the_server_does_with_it(form: str, tmp_path: Path) -> None:
    """Or the server does not start: no version serves of which the fetch has said too much, or too little."""
    information, files, found = FORMS[form]
    listed = model(tmp_path, information, files)
    assert find_example(tmp_path, listed) is found
    assert replayed(tmp_path, information) in (found.is_proof, None)


def test_an_example_of_pipeline_py_is_one_whatever_mlmodel_says(tmp_path: Path) -> None:
    """Metadata and recordings; the server reads them, or does not start."""
    listed = model(tmp_path, None, {"artifacts/replay/request.json": {}, "artifacts/replay/aceite.wav": b"RIFF"})
    assert find_example(tmp_path, listed) is LOGGED
    assert find_example(tmp_path, ["MLmodel", "artifacts/replay", "artifacts/replayed/request.json"]) is NONE


def test_what_is_too_large_to_be_looked_at_is_replayed_by_nobody(tmp_path: Path) -> None:
    """Both have the same limit; a sparse file takes no space."""
    assert logged_example.MAX_EXAMPLE_BYTES == MAX_EXAMPLE_BYTES
    listed = model(tmp_path, SPLIT, {INPUT: TABLE})
    with (tmp_path / INPUT).open("r+b") as stream:
        stream.truncate(MAX_EXAMPLE_BYTES + 1)
    assert find_example(tmp_path, listed) is UNUSABLE
    assert replayed(tmp_path, SPLIT) is False


def test_what_mlflow_logs_today_is_found(tmp_path: Path) -> None:
    """The installed one, with an example of each usual form and without any."""
    import mlflow
    import pandas as pd
    from sklearn.linear_model import Ridge

    table = pd.DataFrame({"a": [0.0, 1.0], "b": [1.0, 0.0]})
    fitted = Ridge().fit(table, [1.0, 2.0])
    for number, (example, found) in enumerate([(table, LOGGED), (table.to_numpy(), LOGGED), (None, NONE)]):
        place = tmp_path / str(number)
        mlflow.sklearn.save_model(
            fitted, place, input_example=example, pip_requirements=[], serialization_format="cloudpickle"
        )
        listed = [str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()]
        assert find_example(place, listed) is found
