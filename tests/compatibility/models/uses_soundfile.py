"""soundfile: C code that calls back into Python for every read and write in memory."""

import io

import numpy as np
import soundfile
from mlflow.pyfunc.model import PythonModel


class Model(PythonModel):
    """Reads the recording, writes it as FLAC, which loses nothing, and reads that."""

    def predict(self, context, model_input):
        """Return [sample rate, number of samples, RMS, largest difference after FLAC]."""
        samples, rate = soundfile.read(io.BytesIO(bytes(model_input[1]["aceite"]["content"])))
        flac = io.BytesIO()
        soundfile.write(flac, samples, rate, format="FLAC")
        flac.seek(0)
        again, _ = soundfile.read(flac)
        rms = float(np.sqrt((samples**2).mean()))
        return [float(rate), float(len(samples)), rms, float(np.abs(samples - again).max())], "inconclusive"
