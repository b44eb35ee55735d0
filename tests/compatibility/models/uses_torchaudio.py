"""torchaudio: resampling and a spectrogram."""

import io
import wave

import torch
import torchaudio
from mlflow.pyfunc.model import PythonModel


class Model(PythonModel):
    """The loudest tone of a recording at half its sample rate."""

    def predict(self, context, model_input):
        """Return [frequency in Hz, RMS] after resampling."""
        with wave.open(io.BytesIO(bytes(model_input[1]["aceite"]["content"]))) as recording:
            rate, raw = recording.getframerate(), recording.readframes(recording.getnframes())
        y = torch.frombuffer(bytearray(raw), dtype=torch.int16).float() / 32768
        half = torchaudio.functional.resample(y, rate, rate // 2)
        spectrum = torchaudio.transforms.Spectrogram(n_fft=len(half), center=False)(half)
        loudest = spectrum[:, 0].argmax() * (rate // 2) / len(half)
        return [loudest.item(), half.square().mean().sqrt().item()], "inconclusive"
