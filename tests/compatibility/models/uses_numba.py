"""numba: a function of the model's own file that is compiled once and kept on disk."""

import io
import wave

import numpy as np
from mlflow.pyfunc.model import PythonModel
from numba import njit


@njit(cache=True)
def root_mean_square(samples):
    """Return the RMS of an array."""
    total = 0.0
    for sample in samples:
        total += sample * sample
    return np.sqrt(total / len(samples))


class Model(PythonModel):
    """A loop in machine code."""

    def predict(self, context, model_input):
        """Return [RMS of the recording]."""
        with wave.open(io.BytesIO(bytes(model_input[1]["aceite"]["content"]))) as recording:
            raw = recording.readframes(recording.getnframes())
        samples = np.frombuffer(raw, dtype="<i2") / 32768
        return [root_mean_square(samples)], "inconclusive"
