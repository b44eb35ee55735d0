"""Keeps MLflow's traces off: each holds a whole request, and is written to disk where no server takes it."""

from __future__ import annotations

import importlib
import os
from typing import Any

from modelserver.errors import CannotServeError, describe_error

_ADDRESS_VARIABLE = "MLFLOW_TRACKING_URI"
# OpenTelemetry, of which MLflow's traces are made, then makes none; the processes that a model starts inherit it.
_OFF_VARIABLE = "OTEL_SDK_DISABLED"


class Tracing:
    """Whether traces of requests are kept: only where the server's own environment names a server that takes them.

    Decided before any code of the model runs: the model may name an address that nobody on this host agreed to.
    """

    def __init__(self, enabled: bool) -> None:
        """As the host has it."""
        self._enabled = enabled

    @classmethod
    def from_environment(cls) -> Tracing:
        """Enabled where MLFLOW_TRACKING_URI is set; else off, whatever is switched on later."""
        enabled = bool(os.environ.get(_ADDRESS_VARIABLE))
        if not enabled:
            os.environ[_OFF_VARIABLE] = "true"
        return cls(enabled)

    def enforce(self) -> None:
        """Where traces are off, switches off what MLflow or the model's code has set up by now.

        To be called again after foreign code has run. Raises CannotServeError.
        """
        if self._enabled:
            return
        os.environ[_OFF_VARIABLE] = "true"
        try:
            tracing: Any = importlib.import_module("mlflow.tracing")
        except ImportError:
            return  # MLflow before 2.13 makes no traces
        try:
            # reset() first, where MLflow has it: else what was set up would make no traces, but keep its threads.
            getattr(tracing, "reset", tracing.disable)()
            tracing.disable()
        except Exception as failure:
            raise CannotServeError(
                f"cannot switch off MLflow's traces: {describe_error(failure, where=False)}; "
                "log the model again with another version of MLflow"
            ) from failure
