"""A model that is traced in every usual way, and says how much MLflow keeps of its requests in memory."""

import threading
from typing import Any

import mlflow
from mlflow.entities.trace_location import MlflowExperimentLocation
from mlflow.pyfunc.model import PythonModel
from mlflow.tracing.trace_manager import InMemoryTraceManager

# All of it while it is loaded, as code does that was written for a notebook.
mlflow.set_tracking_uri("sqlite:///own.db")
mlflow.tracing.enable()
mlflow.tracing.set_destination(MlflowExperimentLocation("0"))


class Traced(PythonModel):
    """Answers /predict with the number of traces in memory and of threads that write them."""

    # MLflow takes hints for a schema to enforce.
    @mlflow.trace
    def predict(self, context, model_input):  # type: ignore[no-untyped-def,override]  # noqa: ARG002 - see above
        """One request: `metadata["way"]` says how else it is traced."""
        metadata, files = model_input
        WAYS[metadata["way"]](metadata, files)
        exporters = [thread for thread in threading.enumerate() if thread.name.startswith(("MLflow", "Otel"))]
        kept = InMemoryTraceManager.get_instance()._traces  # type: ignore[no-untyped-call]  # MLflow's is untyped
        return [len(kept), len(exporters)], "negative"


def _span(metadata: dict[str, Any], files: dict[str, Any]) -> None:
    with mlflow.start_span("inner") as span:
        span.set_inputs({"metadata": metadata, "files": files})


def _detached(metadata: dict[str, Any], files: dict[str, Any]) -> None:
    span = mlflow.start_span_no_context("detached", inputs={"metadata": metadata, "files": files})
    span.end()


def _switched_on(metadata: dict[str, Any], files: dict[str, Any]) -> None:
    mlflow.tracing.enable()
    _span(metadata, files)
    _detached(metadata, files)


def _begun_anew(metadata: dict[str, Any], files: dict[str, Any]) -> None:
    mlflow.tracing.reset()  # type: ignore[no-untyped-call]  # MLflow's is untyped
    mlflow.trace(_span)(metadata, files)


WAYS = {"span": _span, "detached": _detached, "switched on": _switched_on, "begun anew": _begun_anew}
mlflow.models.set_model(Traced())
