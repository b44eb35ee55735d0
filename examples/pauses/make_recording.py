"""Writes recording.wav beside this file: a synthetic voice that speaks, pauses and speaks again.

    python3 examples/pauses/make_recording.py

Nobody was recorded. A tone of 180 Hz and its next two harmonics, 0.4 s long, and 0.3 s of silence,
three times over: 2.1 s of 8-bit samples, 8000 a second, 17 KB. The bytes are the same every time.
"""

import math
import wave
from pathlib import Path

RATE, PITCH = 8000, 180
SPOKEN, SILENT, TIMES = 0.4, 0.3, 3


def sample(number: int) -> int:
    """Return sample `number` of the voice, from 0 to 255; 128 is silence."""
    tones = (math.sin(2 * math.pi * PITCH * harmonic * number / RATE) / harmonic for harmonic in (1, 2, 3))
    return round(128 + 50 * sum(tones))


spoken = [sample(number) for number in range(round(SPOKEN * RATE))]
silent = [128] * round(SILENT * RATE)
with wave.open(str(Path(__file__).with_name("recording.wav")), "wb") as out:
    out.setnchannels(1)
    out.setsampwidth(1)
    out.setframerate(RATE)
    out.writeframes(bytes((spoken + silent) * TIMES))
