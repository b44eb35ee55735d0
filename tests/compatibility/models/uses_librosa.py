"""librosa: compiles with numba when it is imported, and again when it is first used."""

import io
import wave

import librosa
import numpy as np
from mlflow.pyfunc.model import PythonModel


class Model(PythonModel):
    """Pitch and loudness of a recording, and timbre and pitch of a tone that it makes itself."""

    def predict(self, context, model_input):
        """Return [mean pitch in Hz, mean RMS], and of the tone [the first three MFCC, mean pitch in Hz]."""
        with wave.open(io.BytesIO(bytes(model_input[1]["aceite"]["content"]))) as recording:
            rate, raw = recording.getframerate(), recording.readframes(recording.getnframes())
        y = np.frombuffer(raw, dtype="<i2").astype(np.float32) / 32768
        pitch = librosa.yin(y, fmin=60, fmax=2000, sr=rate)
        loudness = librosa.feature.rms(y=y, center=False)
        tone = np.sin(0.05 * np.arange(22050)).astype(np.float32)
        timbre = librosa.feature.mfcc(y=tone, sr=22050, n_mfcc=3).mean(axis=1)
        of_tone = librosa.yin(tone, fmin=60, fmax=2000)
        return [float(pitch.mean()), float(loudness.mean()), *timbre, float(of_tone.mean())], "inconclusive"
