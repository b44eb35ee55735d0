"""The configuration of a server for its model is in force, and a limit that a model ran into is named."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pytest
from mlflow.pyfunc.model import PythonModel

from modelserver.errors import CannotServeError, describe_error
from modelserver.model.loading import load_model
from modelserver.model.tracing import Tracing

TRACING = Tracing(enabled=True)  # the tests' own is left alone


class Configured(PythonModel):
    """Answers with its configuration."""

    # MLflow takes hints for a schema to enforce.
    def predict(self, context, model_input):  # type: ignore[no-untyped-def,override]  # noqa: ARG002 - see above
        """What it is configured with."""
        return context.model_config


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was logged with a configuration."""
    place = tmp_path_factory.mktemp("configured") / "m"
    logged = {"factor": 1, "unit": "s"}
    mlflow.pyfunc.save_model(place, python_model=Configured(), model_config=logged, pip_requirements=[])
    return place


@pytest.mark.parametrize(
    ("text", "factor"), [(None, 1), ("", 1), ("{}", 1), ('{"factor": 2}', 2), ('{"factor": [3]}', [3])]
)
def test_the_configuration_of_the_environment_wins(
    text: str | None, factor: object, configured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Key by key, as in MLflow's own server."""
    monkeypatch.delenv("SERVING_MODEL_CONFIG", raising=False)
    if text is not None:
        monkeypatch.setenv("SERVING_MODEL_CONFIG", text)
    assert load_model(configured, TRACING).predict([1]) == {"factor": factor, "unit": "s"}


@pytest.mark.parametrize("text", ["x", "{", "[1]", "null", '"factor"', "[" * 60_000])
def test_a_configuration_that_is_none_keeps_the_model_from_loading(
    text: str, configured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence names the variable: it is not the model that has to be mended."""
    monkeypatch.setenv("SERVING_MODEL_CONFIG", text)
    with pytest.raises(CannotServeError, match=r"^cannot load the model: SERVING_MODEL_CONFIG is not a JSON object; "):
        load_model(configured, TRACING)


@pytest.mark.parametrize(
    ("error", "limit"),
    [
        (RuntimeError("can't start new thread"), "deploy.tasks_max"),
        (BlockingIOError(11, "Resource temporarily unavailable"), "deploy.tasks_max"),
        (OSError(28, "No space left on device", "/tmp/x"), "deploy.memory_max"),  # noqa: S108 - only a name
        (OSError(28, "No space left on device", "/var/cache/compiled/x"), "deploy.compile_cache"),
        (RuntimeError("the device is away"), None),
    ],
    ids=str,
)
def test_an_error_by_a_limit_of_the_unit_names_the_setting(error: Exception, limit: str | None) -> None:
    """Its words are those of Python, which knows nothing of the unit."""
    said = describe_error(error)
    assert said.startswith(f"{type(error).__name__}: ")
    assert (limit in said) if limit else ("deploy." not in said), said
