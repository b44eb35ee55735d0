"""What people reported of numba, soundfile, Matplotlib and ctypes elsewhere: each makes code while it runs.

soundfile hands callbacks of cffi to C, numba compiles and keeps what it compiled, ctypes hands a callback to qsort.
"""

import ctypes
import io

import numpy as np
import soundfile
from matplotlib.figure import Figure
from mlflow.pyfunc.model import PythonModel
from numba import njit


@njit(cache=True)
def half_sum(count):
    """Return the sum of i * 0.5 for i below `count`."""
    total = 0.0
    for i in range(count):
        total += i * 0.5
    return total


def zeros_there_and_back():
    """Write 800 zeros at 8 kHz as WAV, read them, and return their sample rate."""
    wav = io.BytesIO()
    soundfile.write(wav, np.zeros(800), 8000, format="WAV")
    wav.seek(0)
    _, rate = soundfile.read(wav)
    return float(rate)


def draws_png():
    """Return 1 if a figure becomes the bytes of a PNG."""
    png = io.BytesIO()
    figure = Figure()
    figure.subplots().plot([0, 1], [0, 1])
    figure.savefig(png, format="png")
    return float(png.getvalue().startswith(b"\x89PNG"))


def sorted_by_callback():
    """Return 3, 1, 2 as C's qsort sorts them by a function of Python."""
    compare = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_int))
    numbers = (ctypes.c_int * 3)(3, 1, 2)
    ctypes.CDLL(None).qsort(numbers, 3, ctypes.sizeof(ctypes.c_int), compare(lambda a, b: a[0] - b[0]))
    return [float(number) for number in numbers]


class Model(PythonModel):
    """All of it in one request."""

    def predict(self, context, model_input):
        """Return [sum of i * 0.5 below 1000, sample rate, 1 for the PNG, three sorted numbers]."""
        return [half_sum(1000), zeros_there_and_back(), draws_png(), *sorted_by_callback()], "inconclusive"
