"""numba: a function of the model's own file that is compiled once and kept on disk."""

import io
import wave

import numpy as np
from mlflow.pyfunc.model import PythonModel
from numba import njit


@njit(cache=True)
def half_sum(count):
    """Return the sum of i * 0.5 for i below `count`."""
    total = 0.0
    for i in range(count):
        total += i * 0.5
    return total


@njit(cache=True)
def root_mean_square(samples):
    """Return the RMS of an array."""
    total = 0.0
    for sample in samples:
        total += sample * sample
    return np.sqrt(total / len(samples))


class Model(PythonModel):
    """Two loops in machine code."""

    def predict(self, context, model_input):
        """Return [sum of i * 0.5 below 1000, RMS of the recording]."""
        with wave.open(io.BytesIO(bytes(model_input[1]["aceite"]["content"]))) as recording:
            raw = recording.readframes(recording.getnframes())
        samples = np.frombuffer(raw, dtype="<i2") / 32768
        return [half_sum(1000), root_mean_square(samples)], "inconclusive"
