"""A demonstration, not medicine: loudness, pauses, pitch and timbre of a recording, by librosa and soundfile.

It answers 18 numbers per request, of the part `aceite`: its seconds, its loudness in dB of full
scale, the number of pauses in it, their seconds together, the median pitch in Hz, and the means of
13 mel-frequency cepstral coefficients (MFCC). It says nothing about a patient: the diagnosis is
always "inconclusive".
"""

import io
from typing import Any

import librosa
import numpy as np
import soundfile
from mlflow import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc.model import PythonModel

RATE = 16_000  # every recording is brought to this sample rate
FRAME, HOP = 400, 160  # 25 ms, every 10 ms
SHORTEST_PAUSE_SECONDS = 0.1
LONGEST_SECONDS = 300
LOWEST_HZ, HIGHEST_HZ = 60, 500
COEFFICIENTS = 13
QUIETEST = 1e-6  # -120 dB: what digital silence counts as


def read(content: bytes) -> np.ndarray:
    """Return the samples of a WAV (or FLAC) file as one channel at RATE; 1.0 is full scale.

    Raise MlflowException, which becomes a 400, for a file that cannot be used.
    """
    try:
        with soundfile.SoundFile(io.BytesIO(bytes(content))) as recording:
            rate, seconds = recording.samplerate, recording.frames / recording.samplerate
            # Told before it is read: a small file may say that it has hours.
            if not FRAME / RATE <= seconds <= LONGEST_SECONDS:
                raise refusal(f"it has {seconds:.2f} s, not {FRAME / RATE} to {LONGEST_SECONDS} s")
            samples = recording.read(dtype="float32", always_2d=True).mean(axis=1)
    except soundfile.LibsndfileError as error:
        raise refusal(error.error_string) from error
    if not len(samples) or not np.isfinite(samples).all():
        raise refusal("it has no samples, or some that are no numbers")
    return np.asarray(librosa.resample(samples, orig_sr=rate, target_sr=RATE))


def refusal(why: str) -> MlflowException:
    """Return the exception for a recording that this model cannot use: the client's fault, not the model's."""
    return MlflowException(f"cannot use the recording: {why}", error_code=INVALID_PARAMETER_VALUE)


def pauses(level: np.ndarray) -> list[float]:
    """Return the seconds of each pause, in order: silence of some length between two sounds.

    `level`: the RMS of frames of FRAME samples, HOP apart. Silent is a tenth of the loud ones, or
    less. A gap of n samples has about (n - FRAME) / HOP frames that are silent all through.
    """
    sounding = np.flatnonzero(level > max(0.1 * np.quantile(level, 0.95), QUIETEST))
    silent_frames = np.diff(sounding) - 1
    seconds = (silent_frames * HOP + FRAME - HOP) / RATE
    return [float(pause) for pause in seconds[silent_frames > 0] if pause >= SHORTEST_PAUSE_SECONDS]


class Voice(PythonModel):
    """Features of one recording."""

    # MLflow would derive a schema from a type on model_input, so it has none; the rest of the
    # signature is MLflow's.
    def predict(self, context, model_input) -> tuple[list[float], str]:  # type: ignore  # noqa: ARG002 - see above
        """Return [seconds, dB, pauses, their seconds, pitch in Hz, 13 coefficients]; [] without `aceite`."""
        _, parts = model_input
        if "aceite" not in parts:
            return [], "inconclusive"
        samples = read(parts["aceite"]["content"])
        level = librosa.feature.rms(y=samples, frame_length=FRAME, hop_length=HOP, center=False)[0]
        loudness = 20 * np.log10(max(float(np.sqrt((samples**2).mean())), QUIETEST))
        silent = pauses(level)
        pitch = float(np.median(self.pitch(samples)))
        timbre = librosa.feature.mfcc(y=samples, sr=RATE, n_mfcc=COEFFICIENTS).mean(axis=1)
        numbers: list[Any] = [len(samples) / RATE, loudness, len(silent), sum(silent), pitch, *timbre]
        return [round(float(number), 4) for number in numbers], "inconclusive"

    def pitch(self, samples: np.ndarray) -> np.ndarray:
        """Return the pitch in Hz of each frame that is loud enough to have one; [0] if none is."""
        hertz = librosa.yin(samples, fmin=LOWEST_HZ, fmax=HIGHEST_HZ, sr=RATE)
        level = librosa.feature.rms(y=samples)[0]  # of the same frames
        sounding = level > max(0.1 * np.quantile(level, 0.95), QUIETEST)
        return np.asarray(hertz[sounding]) if sounding.any() else np.zeros(1)
