"""The packages, each with a model, a request, and the right answer by a formula or a number that is known elsewhere."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.compatibility import samples
from tests.host.host import CHECKOUT

MODELS = Path(__file__).with_name("models")
RMS = samples.AMPLITUDE / math.sqrt(2)
SUM_OF_SQUARES = RMS**2 * samples.RATE
PIXELS = sum(side * side for _, _, side in samples.SQUARES)
GREY = round(255 * PIXELS / (samples.IMAGE_WIDTH * samples.IMAGE_HEIGHT), 1)
SUMS = [28.0, 15.0]  # of column a of samples.table(), by b
STEP = [1.0, 1.0, 1.0, 3.0, 3.0]
LINE = [1.0, 14.0, 19.0, 24.0, 39.0]  # 2a + 3b + 1
LAYER = [1.0, 0.0, 14.0, 0.0, 19.0, 0.0, 24.0, 0.0, 39.0, 0.0]  # relu of 2a + 3b + 1, and of b - a
MFCC = [-396.307, 58.463, 47.051]  # of sin(0.05 n) at 22,050 Hz, computed once outside of the product
SPEECH = (0.5, 0.3, 3)  # half a second of sound and 0.3 s of silence, three times, and sound once more
SOUND_SECONDS, SPEECH_SECONDS = 4 * SPEECH[0], 4 * SPEECH[0] + 3 * SPEECH[1]
DECIBEL = 20 * math.log10(RMS * math.sqrt(SOUND_SECONDS / SPEECH_SECONDS))
TONE = 0.05 * 22_050 / (2 * math.pi)  # its pitch in Hz


@dataclass(frozen=True)
class Case:
    """A package that people use in models, and a model that uses it."""

    name: str
    """Of the deployment; also the package, as the index knows it, unless `package` says another."""
    file: Path
    right: Sequence[float | None]
    """What the model has to answer: within `tolerance`, relative or (near 0) absolute. None is any number."""
    parts: dict[str, Callable[[], bytes]] = field(default_factory=dict)
    """The files of the request, by part."""
    metadata: dict[str, Any] = field(default_factory=dict)
    also: tuple[str, ...] = ()
    """Packages that the model imports beside it, as the data scientist installs them."""
    tolerance: float = 2e-3
    settings: dict[str, str] = field(default_factory=dict)
    """Tags deploy.<key> that it needs beyond the defaults."""
    package: str = ""
    class_name: str = "Model"

    @property
    def packages(self) -> tuple[str, ...]:
        """What the data scientist installs; the first is the one that the row is about."""
        return (self.package or self.name, *self.also)

    def is_right(self, numbers: Sequence[float]) -> bool:
        """Tell whether an answer has the right numbers."""
        if len(numbers) != len(self.right):
            return False
        pairs = zip(numbers, self.right, strict=True)
        return all(math.isfinite(one) and (right is None or self._is_close(one, right)) for one, right in pairs)

    def _is_close(self, number: float, right: float) -> bool:
        return math.isclose(number, right, rel_tol=self.tolerance, abs_tol=self.tolerance)


def uses(module: str) -> Path:
    """The model of a package."""
    return MODELS / f"uses_{module}.py"


WAV = {"aceite": samples.tone}
IMAGE = {"image": samples.image}
TABLE = {"table": samples.table}

AS_REPORTED = Case(
    "as-reported",
    MODELS / "as_reported.py",
    [249750.0, 8000.0, 1.0, 1.0, 2.0, 3.0],
    also=("soundfile", "matplotlib"),
    package="numba",
)
CASES = (
    AS_REPORTED,
    # The example of the project. Of a pause, it sees all but the frames at both ends.
    Case(
        "voice",
        CHECKOUT / "examples/voice/voice.py",
        [SPEECH_SECONDS, DECIBEL, 3, 3 * SPEECH[1], samples.PITCH, *[None] * 13],
        {"aceite": partial(samples.speech_like, *SPEECH)},
        also=("soundfile",),
        tolerance=2e-2,
        package="librosa",
        class_name="Voice",
    ),
    Case("librosa", uses("librosa"), [samples.PITCH, RMS, *MFCC, TONE], WAV, tolerance=3e-3),
    Case("soundfile", uses("soundfile"), [samples.RATE, samples.RATE, RMS, 0.0], WAV),
    Case("numba", uses("numba"), [RMS], WAV),
    Case("scipy", uses("scipy"), [samples.PITCH, samples.AMPLITUDE, 0.0], WAV),
    Case("scikit-learn", uses("sklearn"), LINE + STEP, TABLE),
    Case("xgboost", uses("xgboost"), STEP, TABLE, also=("scikit-learn",)),
    Case("lightgbm", uses("lightgbm"), STEP, TABLE, also=("scikit-learn",)),
    Case("catboost", uses("catboost"), STEP, TABLE),
    Case("onnxruntime", uses("onnxruntime"), LAYER, TABLE, also=("onnx",)),
    Case("statsmodels", uses("statsmodels"), [1.0, 2.0, 3.0, 1.0, sum(LINE) / 5], TABLE),
    Case("torch", uses("torch"), [samples.PITCH, RMS, SUM_OF_SQUARES], WAV),
    Case("torchaudio", uses("torchaudio"), [samples.PITCH, RMS], WAV, also=("torch",)),
    Case("tensorflow-cpu", uses("tensorflow"), [samples.PITCH, RMS, SUM_OF_SQUARES], WAV),
    Case("jax", uses("jax"), [samples.PITCH, math.sqrt(0.5) * samples.AMPLITUDE], WAV),
    # After the last layer each token has mean 0 and variance 1; the rows of an attention add up to 1.
    Case(
        "transformers",
        uses("transformers"),
        [4.0, 0.0, 1.0, 1.0, 2.0, 3.0, 4.0, 6.0],
        metadata={"text": "pauses in speech short"},
        also=("torch",),
    ),
    Case(
        "opencv-python-headless",
        uses("opencv"),
        [samples.IMAGE_WIDTH, samples.IMAGE_HEIGHT, len(samples.SQUARES), PIXELS, samples.IMAGE_WIDTH // 2],
        IMAGE,
    ),
    Case(
        "pillow",
        uses("pillow"),
        [samples.IMAGE_WIDTH, samples.IMAGE_HEIGHT, GREY, GREY, samples.IMAGE_HEIGHT, 1.0],
        IMAGE,
        tolerance=2e-2,
    ),
    Case("pydicom", uses("pydicom"), [4, 6, 2 * 11.5 - 10, 2 * 23 - 10], {"slice": samples.dicom_slice}),
    Case("nibabel", uses("nibabel"), [60, 30 * 8 / 1000, 3.0], {"volume": samples.nifti_volume}),
    # "?", "a", "b", "c" and the one pair that it may learn, in the order of their numbers.
    Case("tokenizers", uses("tokenizers"), [5.0, 4.0, 4.0, 3.0], metadata={"text": "ab abc"}),
    Case("sentencepiece", uses("sentencepiece"), [24.0, 1.0], metadata={"text": "short pauses in speech"}),
    Case("polars", uses("polars"), [*SUMS, 3.0**2 + 2.0**2], TABLE),
    Case("pyarrow", uses("pyarrow"), SUMS, TABLE),
    Case("matplotlib", uses("matplotlib"), [200, 100, 1.0, 0.5, 1.0], tolerance=1e-2),
)
