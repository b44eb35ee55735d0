"""A model that fails in whatever way it is told to: `behave`, a column of a table or a key of metadata."""

import asyncio
import concurrent.futures
import decimal
import fractions
import time

import mlflow
import numpy as np
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, RESOURCE_DOES_NOT_EXIST, TEMPORARILY_UNAVAILABLE
from mlflow.pyfunc.model import PythonModel


class UnspeakableError(Exception):
    """Says nothing, not even of itself."""

    def __str__(self):  # type: ignore[no-untyped-def]  # MLflow takes hints of a model for a schema
        raise ValueError("nor this")


class Unshowable:
    """Cannot be shown."""

    def __repr__(self):  # type: ignore[no-untyped-def]  # as above
        raise ValueError("not this either")


def _deep(levels: int) -> object:
    value: object = 0.5
    for _ in range(levels):
        value = [value]
    return value


def _endless() -> object:
    return _endless()


RAISED = {
    "an error": ValueError("no breath"),
    "an error without words": UnspeakableError(),
    "a cancellation": asyncio.CancelledError(),
    "a cancellation of a future": concurrent.futures.CancelledError(),
    "an interrupt": KeyboardInterrupt(),
    "an exit": SystemExit(0),
    "the end of a generator": GeneratorExit(),
    "the end of an iteration": StopIteration(),
    "no memory": MemoryError(),
    "a time-out": TimeoutError(),
    "an error of its registry": MlflowException("no such model", error_code=RESOURCE_DOES_NOT_EXIST),
    "an error of its store": MlflowException("no answer", error_code=TEMPORARILY_UNAVAILABLE),
}
ANSWERED = {
    "a set": {1, 2},
    "a decimal": decimal.Decimal("0.1"),
    "an odd key": {(1, 2): 3},
    "a long double": np.array([0.1], dtype="longdouble"),
    "two thousand levels": _deep(2000),
    "an object": Unshowable(),
    "a generator": (number for number in (1, 2)),
    "a number of ten thousand digits": ([10**10_000], "negative"),
    "a fraction beyond every float": ([fractions.Fraction(10**400)], "negative"),
}
REFUSED = MlflowException("a recording without breath", error_code=INVALID_PARAMETER_VALUE)


class Failing(PythonModel):
    """Fails as it is told to, and else answers."""

    def predict(self, context, model_input):  # type: ignore[no-untyped-def,override]  # noqa: ARG002 - as above
        """On both endpoints."""
        row = model_input[0] if isinstance(model_input, list) else model_input.iloc[0]
        behave = row["behave"]
        if behave == "a refusal":
            raise REFUSED
        if behave == "an endless recursion":
            _endless()
        if behave == "an endless prediction":
            time.sleep(3600)
        if behave in RAISED:
            raise RAISED[behave]
        return ANSWERED.get(behave, ([0.5], "negative"))


mlflow.models.set_model(Failing())
