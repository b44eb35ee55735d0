"""A real registry with real models, logged once per session, and a wheelhouse."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mlflow_server import mlflow_server
from tests.steps import wheels
from tests.steps.step import Steps


@dataclass(frozen=True)
class Registered:
    """One model version as the snapshot names it."""

    registry: str
    name: str
    version: int
    source: str

    def arguments(
        self, *, keep_free: int = 0, environment: str = "model", schemes: str = "mlflow-artifacts"
    ) -> list[str]:
        """Return the fetch step's arguments for it."""
        options = {"name": self.name, "version": self.version, "source": self.source, "environment": environment}
        options |= {"schemes": schemes, "keep-free": keep_free}
        return ["fetch", *(word for name, value in options.items() for word in (f"--{name}", str(value)))]


@pytest.fixture(scope="session")
def run() -> Iterator[Steps]:
    """Runs a step to its end."""
    steps = Steps()
    yield steps
    steps.close()


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real MLflow server."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as address:
        yield address


@pytest.fixture(scope="session")
def demo(registry: str, tmp_path_factory: pytest.TempPathFactory) -> Registered:
    """A tiny pyfunc model, logged and registered with MLflow's own client."""
    import mlflow

    code = tmp_path_factory.mktemp("code") / "demo.py"
    code.write_text(
        "import mlflow\n\n\nclass Demo(mlflow.pyfunc.PythonModel):\n"
        "    def predict(self, context, model_input: list[str]) -> list[str]:\n        return model_input\n\n\n"
        "mlflow.models.set_model(Demo())\n"
    )
    mlflow.set_tracking_uri(registry)
    mlflow.pyfunc.log_model(
        name="model",
        python_model=str(code),
        pip_requirements=["mlflow-skinny", "tiny==1.0"],
        registered_model_name="demo",
    )
    return newest(registry, "demo")


@pytest.fixture(scope="session")
def ridge(registry: str) -> Registered:
    """A scikit-learn model, registered through its run as older clients do."""
    import mlflow
    from sklearn.linear_model import Ridge

    mlflow.set_tracking_uri(registry)
    mlflow.sklearn.log_model(
        Ridge().fit([[0.0], [1.0]], [0.0, 1.0]),
        name="model",
        pip_requirements=["mlflow-skinny", "scikit-learn"],
        registered_model_name="ridge",
    )
    return newest(registry, "ridge")


def newest(registry: str, name: str) -> Registered:
    """Look a model's version up."""
    import mlflow

    found = mlflow.MlflowClient(registry).search_model_versions(f"name='{name}'")[0]
    assert found.source is not None
    return Registered(registry, name, int(found.version), found.source)


def log_directory(registry: str, name: str, directory: Path, experiment: str = "0") -> Registered:
    """Register a directory as a version by its run's address, as it is."""
    import mlflow

    client = mlflow.MlflowClient(registry)
    run = client.create_run(experiment).info.run_id
    client.log_artifacts(run, str(directory), "model")
    try:
        client.create_registered_model(name)
    except mlflow.MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    version = client.create_model_version(name, f"runs:/{run}/model", run)
    assert version.source is not None
    return Registered(registry, name, int(version.version), version.source)


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheelhouse with what the server needs and some packages to quarrel about."""
    house = tmp_path_factory.mktemp("house")
    wheels.server_needs(house)
    for version in ("1.0", "2.0"):
        wheels.wheel(house, "tiny", version)
    wheels.wheel(house, "wants-old-tiny", "1.0", requires=("tiny<2",))
    wheels.wheel(house, "wants-tiny", "1.0", requires=("tiny",))
    wheels.wheel(house, "starlette", "0.0.5")
    wheels.wheel(house, "wants-old-starlette", "1.0", requires=("starlette<0.1",))
    wheels.wheel(house, "other-python", "1.0", tag="cp39-cp39-manylinux_2_17_x86_64")
    wheels.source(house, "source-only", "1.0")
    return house
