"""A diagnosis model for tests: its numbers depend on every byte it is given, and its metadata tells it to misbehave."""

import ctypes
import os
import signal
import time
import zlib
from pathlib import Path

import mlflow
import numpy as np
from mlflow.pyfunc.model import PythonModel

main_thread_waits_for: list[Path] = []


class Echo(PythonModel):
    """Answers with what it was given, or with what `metadata["behave"]` asks for."""

    # MLflow takes hints for a schema to enforce.
    def predict(self, context, model_input):  # type: ignore[no-untyped-def,override]  # noqa: ARG002 - see above
        """The contract of a diagnosis model: `[metadata, files]` in, `(numbers, diagnosis)` out."""
        if "leave" in model_input:  # a column of a table
            raise SystemExit(0)
        metadata, files = model_input
        if "wait_for" in metadata:
            Path(metadata["wait_for"] + ".begun").touch()
            deadline = time.monotonic() + 60
            while not Path(metadata["wait_for"]).exists() and time.monotonic() < deadline:
                time.sleep(0.02)
        behave = metadata.get("behave")
        if behave == "raise":
            raise ValueError("no breath was found\nin the recording")
        if behave == "leave":
            raise SystemExit(0)
        if behave == "hold the interpreter":  # as an extension does that computes without letting go of it
            with Path(metadata["until"]).open("rb") as pipe:
                ctypes.PyDLL(None).read(pipe.fileno(), ctypes.create_string_buffer(1), 1)
        if behave == "hold the main thread":
            main_thread_waits_for.append(Path(metadata["until"]))
            os.kill(os.getpid(), signal.SIGVTALRM)
        if behave == "look around":
            return [
                float(name in os.environ) for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
            ], "negative"
        if behave in MISBEHAVIOUR:
            return MISBEHAVIOUR[behave]
        output = [float(metadata.get("age", 0))]
        for name in sorted(files):
            content = files[name]["content"]
            output += [len(content), zlib.crc32(content), zlib.crc32(files[name]["filename"].encode())]
            output.append(int(type(content) is bytearray))
        return output, "negative"


MISBEHAVIOUR = {
    "numpy": ([np.float32(0.5), np.int64(3), np.float64(0.25)], np.str_("positive")),
    "array": (np.array([0.5, 1.5]), "inconclusive"),
    "huge": ([10**400], "positive"),
    "nan": ([float("nan"), float("inf"), 1], "positive"),
    "alone": [0.1, 0.2, 0.3],
    "word": ([0.1], "healthy"),
    "text": (["0.1"], "negative"),
    "truth": ([True], "negative"),
    "nested": ([[0.1]], "negative"),
    "table": {"output": [0.1]},
    "nothing": None,
}
# Handlers run in the main thread, between two steps of the event loop.
signal.signal(signal.SIGVTALRM, lambda *_: main_thread_waits_for.pop().read_bytes())
mlflow.models.set_model(Echo())
