"""Keeps MLflow's traces off: each holds a whole request, and is written to disk where no server takes it."""

from __future__ import annotations

import importlib
import os
from typing import Any

from modelserver.errors import CannotServeError, describe

_ADDRESS = "MLFLOW_TRACKING_URI"
# OpenTelemetry, of which MLflow's traces are made, then makes none; the processes that a model starts inherit it.
_SWITCH = "OTEL_SDK_DISABLED"


class Tracing:
    """Whether traces of requests are kept: only where the server's own environment says who takes them.

    Decided before any code of the model runs: that may name an address which nobody here agreed to.
    """

    def __init__(self, wanted: bool) -> None:
        """As the host wants it."""
        self._wanted = wanted

    @classmethod
    def from_environment(cls) -> Tracing:
        """Wanted where MLFLOW_TRACKING_URI is set; else off, whatever is switched on later."""
        wanted = bool(os.environ.get(_ADDRESS))
        if not wanted:
            os.environ[_SWITCH] = "true"
        return cls(wanted)

    def settle(self) -> None:
        """Switches off what MLflow, or the model's code, has set up by now. Raises CannotServeError."""
        if self._wanted:
            return
        os.environ[_SWITCH] = "true"
        try:
            tracing: Any = importlib.import_module("mlflow.tracing")
        except ImportError:
            return  # MLflow before 2.13 makes no traces
        try:
            # First, where MLflow has it: without it, what was set up and makes no traces would keep its threads.
            getattr(tracing, "reset", tracing.disable)()
            tracing.disable()
        except Exception as failure:
            raise CannotServeError(
                f"cannot switch off MLflow's traces: {describe(failure, where=False)}; "
                "log the model again with another version of MLflow"
            ) from failure
