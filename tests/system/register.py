"""Runs inside a host, as its data scientist: logs and registers small models whose code comes as JSON on stdin.

Reads a list of {"name", "code" or "kind": "sklearn", "modules", "requirements", "constraints", "code_paths",
"settings", "replay", "artifacts_at"}; prints the versions. "modules" are files by their names, which are shipped with
the code and are not imported here. "artifacts_at" is the address of a directory that this client writes the artifacts
to itself.
`pipeline.py` would refuse most of these, which is the point: a registry takes anything.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import mlflow
from mlflow import MlflowClient


def log(model: dict[str, Any], directory: Path) -> str:
    """Log one model; return the URI of what was logged."""
    place = model.get("artifacts_at")
    experiment = mlflow.create_experiment(model["name"], artifact_location=place) if place else None
    with mlflow.start_run(experiment_id=experiment):
        if model.get("kind") == "sklearn":
            return log_sklearn(model.get("requirements"))
        code = directory / f"{model['name']}.py"
        code.write_text(model["code"])
        artifacts = {}
        if replay := model.get("replay"):
            folder = Path(tempfile.mkdtemp(dir=directory)) / "replay"  # MLflow keeps the folder's own name
            folder.mkdir()
            for name, content in replay.items():
                (folder / name).write_text(json.dumps(content))
            artifacts["replay"] = str(folder)
        modules = [directory / name for name in model.get("modules", {})]
        for module in modules:
            module.write_text(model["modules"][module.name])
        requirements = model.get("requirements", ["mlflow-skinny", "pandas"])
        if constraints := model.get("constraints"):
            (directory / "constraints.txt").write_text(constraints)
            requirements = [*requirements, f"-c {directory}/constraints.txt"]
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(code),
            artifacts=artifacts or None,
            code_paths=[*map(str, modules), *model.get("code_paths", [])] or None,
            pip_requirements=requirements,
        )
        return str(info.model_uri)


def log_sklearn(more: list[str] | None) -> str:
    """Log a scikit-learn model with a signature, an input example and more requirements than its own."""
    import pandas as pd
    from sklearn.linear_model import LinearRegression

    inputs = pd.DataFrame({"a": [0.0, 1.0, 2.0], "b": [1.0, 0.0, 1.0]})
    fitted = LinearRegression().fit(inputs, [1.0, 2.0, 4.0])
    info = mlflow.sklearn.log_model(
        fitted,
        name="model",
        input_example=inputs,
        serialization_format="cloudpickle",
        extra_pip_requirements=more or None,
    )
    return str(info.model_uri)


def main() -> None:
    """Register everything that is asked for."""
    client = MlflowClient()
    versions = {}
    with tempfile.TemporaryDirectory() as directory:
        for model in json.load(sys.stdin):
            version = mlflow.register_model(log(model, Path(directory)), model["name"])
            for key, value in model.get("settings", {}).items():
                client.set_model_version_tag(model["name"], version.version, f"deploy.{key}", value)
            versions[model["name"]] = int(version.version)
    print(json.dumps(versions))  # noqa: T201 - what the test reads


main()
