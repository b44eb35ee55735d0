"""SciPy: filters, spectra, an optimizer."""

import io

import numpy as np
from mlflow.pyfunc.model import PythonModel
from scipy import optimize, signal
from scipy.io import wavfile


class Model(PythonModel):
    """The loudest tone of a recording, before and after a filter that takes it away."""

    def predict(self, context, model_input):
        """Return [frequency in Hz, amplitude, share that a low-pass at a tenth of it leaves in the middle]."""
        rate, samples = wavfile.read(io.BytesIO(bytes(model_input[1]["aceite"]["content"])))
        y = samples / 32768
        frequencies, power = signal.periodogram(y, rate, scaling="spectrum")
        loudest = float(frequencies[power.argmax()])
        phase = 2 * np.pi * loudest * np.arange(len(y)) / rate
        fitted = optimize.least_squares(lambda amplitude: amplitude * np.sin(phase) - y, x0=[0.1])
        low = signal.sosfiltfilt(signal.butter(4, loudest / 10, fs=rate, output="sos"), y)
        return [loudest, float(fitted.x[0]), float(low[rate // 4 : -rate // 4].std() / y.std())], "inconclusive"
