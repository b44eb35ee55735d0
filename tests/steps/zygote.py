"""Processes for release steps that need not import MLflow each: one process imports it, and forks for every step.

Reads JSON lines {"arguments": [...], "environment": {...}, "output": PATH} and answers each with the exit code.
"""

import json
import os
import sys

from tests.steps.killed import forked


def serve() -> None:
    """Run steps until stdin ends."""
    for line in sys.stdin:
        asked = json.loads(line)

        def step(asked: dict[str, object] = asked) -> None:
            descriptor = os.open(str(asked["output"]), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            os.environ.clear()
            os.environ.update(asked["environment"])  # type: ignore[call-overload]  # JSON of our own test
            from reconciler.steps.__main__ import main

            main(asked["arguments"])  # type: ignore[arg-type]  # JSON of our own test

        print(forked(step), flush=True)  # noqa: T201 - that is its output


if __name__ == "__main__":
    import boto3  # noqa: F401 - imported here so that no step has to
    import botocore.httpsession  # noqa: F401 - imported here so that no step has to
    import mlflow.artifacts
    import mlflow.store.artifact.artifact_repository_registry  # noqa: F401 - imported here so that no step has to

    serve()
