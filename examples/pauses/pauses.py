"""A demonstration, not medicine: how much of a recording is silence, read from the WAV bytes.

It answers four numbers per request: the share of silence in `aceite`, the longest pause in it in
seconds, the share of silence in `sustentada` (a vowel held on one breath) and how long that vowel
is held in seconds. The diagnosis compares two of them with thresholds that are made up.
"""

import io
import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
from mlflow.pyfunc.model import PythonModel

FRAME_SECONDS = 0.02
THRESHOLDS = {"silence_share": 0.4, "held_seconds": 1.0, "margin": 0.0}


def loudness(content: bytes) -> np.ndarray:
    """Return the root mean square of each 20 ms of a PCM recording; 1.0 is full scale.

    Raise ValueError for samples that have not 8, 16 or 32 bits.
    """
    with wave.open(io.BytesIO(bytes(content))) as recording:
        width, channels = recording.getsampwidth(), recording.getnchannels()
        rate = recording.getframerate()
        raw = recording.readframes(recording.getnframes())
    if width not in (1, 2, 4):
        raise ValueError(f"{8 * width}-bit recordings are not supported")
    samples = np.frombuffer(raw, dtype={1: "u1", 2: "<i2", 4: "<i4"}[width]).astype(np.float64)
    # WAV keeps 8-bit samples without a sign, 128 being silence, and all others with one.
    samples = (samples - 128 if width == 1 else samples) / 2 ** (8 * width - 1)
    mono = samples.reshape(-1, channels).mean(axis=1)
    frame = max(1, round(rate * FRAME_SECONDS))
    frames = mono[: len(mono) // frame * frame].reshape(-1, frame)
    return np.asarray(np.sqrt((frames**2).mean(axis=1)))


def silent_frames(level: np.ndarray) -> np.ndarray:
    """Return which frames are silent: a tenth of the loud ones, or less."""
    if not len(level) or level.max() == 0:
        return np.ones(len(level), dtype=bool)
    return np.asarray(level < 0.1 * np.quantile(level, 0.95))


def longest_run(marks: np.ndarray) -> float:
    """Return the seconds of the longest uninterrupted run of marked frames."""
    longest = current = 0
    for mark in marks:
        current = current + 1 if mark else 0
        longest = max(longest, current)
    return longest * FRAME_SECONDS


class Pauses(PythonModel):
    """Pauses in speech and the length of a held vowel, compared with thresholds."""

    def load_context(self, context: Any) -> None:
        """Read the thresholds that came as `--artifact thresholds=FILE`, if any."""
        self.thresholds = dict(THRESHOLDS)
        if path := context.artifacts.get("thresholds"):
            self.thresholds |= json.loads(Path(path).read_text(encoding="utf-8"))

    # MLflow would derive a schema from a type on model_input, so it has none; the rest of the
    # signature is MLflow's.
    def predict(self, context, model_input) -> tuple[list[float], str]:  # type: ignore  # noqa: ARG002 - see above
        """Return [silence in aceite, longest pause, silence in sustentada, seconds held], diagnosis."""
        _, parts = model_input
        numbers: list[float] = []
        for part in ("aceite", "sustentada"):
            if part not in parts:
                return [], "inconclusive"
            silent = silent_frames(loudness(parts[part]["content"]))
            share = float(silent.mean()) if len(silent) else 1.0
            seconds = longest_run(silent) if part == "aceite" else longest_run(~silent)
            numbers += [round(share, 4), round(seconds, 4)]
        return numbers, self.diagnosis(numbers[0], numbers[3])

    def diagnosis(self, silence_share: float, held_seconds: float) -> str:
        """Compare with the thresholds; a share of silence within the margin is inconclusive."""
        limits = self.thresholds
        if abs(silence_share - limits["silence_share"]) < limits["margin"]:
            return "inconclusive"
        pauses_much = silence_share > limits["silence_share"]
        breathes_short = held_seconds < limits["held_seconds"]
        return "positive" if pauses_much or breathes_short else "negative"
