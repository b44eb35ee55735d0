"""What a model may answer, what a name may be, where settings come from: decided without a server."""

import math
import os
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that names no server, put back afterwards."""
    monkeypatch.setattr(os, "environ", {"HOME": "/nonexistent"})
    return monkeypatch


@pytest.mark.parametrize(
    "result",
    [
        ([0.1, 2, 3], "negative"),
        [[0.1], "positive"],
        ((1, 2), "inconclusive"),
        ([], "inconclusive"),
        (np.array([0.5, 1.5], dtype=np.float32), np.str_("positive")),
        ([np.float32(0.5), np.int64(3), np.array(2.5)], "negative"),
    ],
    ids=str,
)
def test_numbers_of_any_kind_with_a_known_diagnosis_are_accepted(pipeline: ModuleType, result: Any) -> None:
    """Python's and numpy's numbers become plain floats, in a list or an array."""
    output, diagnosis = pipeline.check_output(result)
    assert all(type(number) is float for number in output)
    assert type(diagnosis) is str


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (None, "predict returned None (NoneType), not a pair"),
        ("negative", "predict returned 'negative' (str), not a pair"),
        ([0.1, 0.2, 0.3], "not a pair"),
        ({"output": [0.1], "diagnosis": "negative"}, "not a pair"),
        ((0.1, "negative"), "the first of the pair is 0.1, not a list of numbers"),
        (("0.1", "negative"), "not a list of numbers"),
        ((np.zeros((2, 2)), "negative"), "not a list of numbers"),
        (([0.1, "0.2"], "negative"), "number 1 of the list is '0.2' (str)"),
        (([[0.1]], "negative"), "number 0 of the list is [0.1] (list)"),
        (([True], "negative"), "number 0 of the list is True (bool)"),
        (([np.True_], "negative"), "number 0 of the list"),
        (([1j], "negative"), "number 0 of the list is 1j (complex)"),
        (([Decimal("0.1")], "negative"), "number 0 of the list is Decimal"),
        (([0.1, math.nan], "negative"), "number 1 of the list is nan, which JSON cannot carry"),
        (([math.inf], "negative"), "which JSON cannot carry"),
        (([10**400], "negative"), "which JSON cannot carry"),
        (([0.1], "Negative"), "the diagnosis is 'Negative'"),
        (([0.1], None), "the diagnosis is None"),
        (([0.1], ["negative"]), "the diagnosis is ['negative']"),
    ],
    ids=str,
)
def test_any_other_answer_is_refused_by_what_came_back(pipeline: ModuleType, result: Any, said: str) -> None:
    """The sentence shows the value, shortened, so that the author recognises it."""
    with pytest.raises(pipeline.WrongAnswerError) as caught:
        pipeline.check_output(result)
    assert said in str(caught.value)


def test_an_answer_with_a_failing_repr_is_refused_like_any_other(pipeline: ModuleType) -> None:
    """Showing the answer must not be what crashes."""

    class Hostile:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    with pytest.raises(pipeline.WrongAnswerError, match="a Hostile whose repr raises RuntimeError"):
        pipeline.check_output(Hostile())


@pytest.mark.parametrize("name", ["a", "A-1_b", "_", "x" * 64, "9"])
def test_names_of_letters_digits_dashes_and_underscores_are_allowed(pipeline: ModuleType, name: str) -> None:
    """The rule that the host applies too."""
    assert pipeline.name_problem(name) is None


@pytest.mark.parametrize("name", ["", "-a", "a b", "a/b", "a:1", "é", "a\n", "x" * 65, "$(id)", "%i", ".."])
def test_other_names_are_refused(pipeline: ModuleType, name: str) -> None:
    """MLflow would take most of these; no unit and no path may be made of them."""
    assert pipeline.name_problem(name)


@pytest.mark.parametrize(
    ("flag", "environment", "file", "address"),
    [
        (
            "http://flag:1",
            {"MLFLOW_TRACKING_URI": "http://env:1"},
            {"MLFLOW_TRACKING_URI": "http://file:1"},
            "http://flag:1",
        ),
        (None, {"MLFLOW_TRACKING_URI": "http://env:1/"}, {"MLFLOW_TRACKING_URI": "http://file:1"}, "http://env:1"),
        (None, {"MLFLOW_CONN_URL": "http://seed:1"}, {"MLFLOW_TRACKING_URI": "http://file:1"}, "http://seed:1"),
        (None, {"MLFLOW_TRACKING_URI": ""}, {"MLFLOW_CONN_URL": "http://file:1"}, "http://file:1"),
        (None, {}, {}, "http://127.0.0.1:5000"),
    ],
)
@pytest.mark.usefixtures("clean_environment")
def test_flags_win_over_the_environment_and_the_environment_over_the_file(
    pipeline: ModuleType, flag: str | None, environment: dict[str, str], file: dict[str, str], address: str
) -> None:
    """An empty variable counts as not set; MLFLOW_CONN_URL is another name for the address."""
    os.environ.update(environment)
    assert pipeline.apply_settings(flag, file) == address
    assert os.environ["MLFLOW_TRACKING_URI"] == address


@pytest.mark.usefixtures("clean_environment")
def test_credentials_of_the_file_reach_mlflow_unchanged(pipeline: ModuleType, tmp_path: Path) -> None:
    """A password may contain what looks like a variable; what is set already stays."""
    file = tmp_path / "settings"
    file.write_text("AWS_SECRET_ACCESS_KEY='a${HOME}b'\nMLFLOW_S3_ENDPOINT_URL=http://s3:9000\nAWS_REGION=x\n")
    os.environ["AWS_REGION"] = "mine"
    pipeline.apply_settings(None, pipeline.read_env_file(file))
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == "a${HOME}b"  # noqa: S105 - a made-up password
    assert os.environ["MLFLOW_S3_ENDPOINT_URL"] == "http://s3:9000"
    assert os.environ["AWS_REGION"] == "mine"


@pytest.mark.parametrize("address", ["sqlite:///x.db", "file:/tmp/x", "http://", "databricks"])
@pytest.mark.usefixtures("clean_environment")
def test_an_address_that_no_host_could_read_is_refused(pipeline: ModuleType, address: str) -> None:
    """A model registered in a local file would be seen by nobody else."""
    with pytest.raises(pipeline.PipelineError, match="not the address of an MLflow server"):
        pipeline.apply_settings(address, {})


@pytest.mark.parametrize("address", ["mlflow.example", "127.0.0.1:5000", "localhost:5000", "mlflow.example:5000/path"])
@pytest.mark.usefixtures("clean_environment")
def test_an_address_that_lacks_its_beginning_is_told_as_that(pipeline: ModuleType, address: str) -> None:
    """People copy them without it."""
    with pytest.raises(pipeline.PipelineError, match=f"no http:// or https:// in front; write http://{address}, or"):
        pipeline.apply_settings(address, {})


@pytest.mark.usefixtures("clean_environment")
def test_secrets_are_taken_out_of_every_line(pipeline: ModuleType) -> None:
    """Passwords in addresses, and the values of secret settings wherever they turn up."""
    os.environ["MLFLOW_TRACKING_PASSWORD"] = "hunter22"  # noqa: S105 - a made-up password
    line = pipeline.redact("cannot reach http://ana:pw@host:1/x: hunter22 was wrong")
    assert line == "cannot reach http://host:1/x: *** was wrong"


@pytest.mark.parametrize(
    "line", ["-r other.txt", "--index-url http://x", "./local.whl", "numpy=1", "git+https://x/y", "x @ http://x/y"]
)
def test_requirements_that_mean_nothing_elsewhere_are_refused(pipeline: ModuleType, tmp_path: Path, line: str) -> None:
    """The host builds its environment from plain lines."""
    file = tmp_path / "requirements.txt"
    file.write_text(f"# ours\nnumpy>=1.26  # any\n{line}\n")
    with pytest.raises(pipeline.PipelineError, match=r"line 3 is .*; write one NAME or NAME==VERSION a line"):
        pipeline.read_requirements(file)


def test_the_module_can_be_imported_without_being_the_script(pipeline: ModuleType) -> None:
    """A filled-in template is served as the module `pipeline`: its class must be a real PythonModel there."""
    from mlflow.pyfunc.model import PythonModel

    assert issubclass(pipeline.ModelTemplate, PythonModel)
