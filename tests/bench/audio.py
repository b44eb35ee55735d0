"""Two megabytes of audio: as a file at /predict, and as base64 in the JSON of MLflow's server, which knows no files."""

import base64
import io
import json
import random
import tempfile
import wave
from contextlib import ExitStack
from pathlib import Path

from tests.bench import models
from tests.bench.figures import OURS, Figure, Goal
from tests.bench.serving import good
from tests.bench.subjects import CACHE, MLFLOW, OWN, run_in, started, wait_for_answer

AUDIO = "requests per second, 2 MB of audio, 1 connection"
SAME = f"{OURS}, base64 in JSON"
GOALS = (Goal(AUDIO, 3.0, is_lowest=True, peer=MLFLOW.name),)
_PORT = 24500
_BOUNDARY = "a-line-that-no-recording-has"
# Both read the head of the recording and nothing more: the row is about the way of the bytes to the model.
_SAVE = """
import io, sys, wave, mlflow
from mlflow.models import ModelSignature
from mlflow.pyfunc import PythonModel
from mlflow.types import ColSpec, Schema
directory = sys.argv[1]
def seconds(content):
    with wave.open(io.BytesIO(content)) as recording:
        return recording.getnframes() / recording.getframerate()
class Files(PythonModel):
    def predict(self, context, model_input, params=None):
        metadata, files = model_input
        return [seconds(files["aceite"]["content"])], "negative"
class Table(PythonModel):
    def predict(self, context, model_input, params=None):
        return [seconds(content) for content in model_input["aceite"]]
requirements = dict(pip_requirements=["mlflow"])
mlflow.pyfunc.save_model(directory + "/files", python_model=Files(), **requirements)
signature = ModelSignature(Schema([ColSpec("binary", "aceite")]))
mlflow.pyfunc.save_model(directory + "/base64", python_model=Table(), signature=signature, **requirements)
"""


def figures(rounds: int) -> list[Figure]:
    """Send the same recording to ours and to MLflow's server in turns."""
    directory = models.emptied(CACHE / "audio-models")
    run_in("ours", "-c", _SAVE, str(directory))
    content = recording(2_000_000)
    encoded = {"columns": ["aceite"], "data": [[base64.b64encode(content).decode()]]}
    text = json.dumps({"dataframe_split": encoded}).encode()
    form = f"multipart/form-data; boundary={_BOUNDARY}"
    asked = (
        (OURS, OWN, "files", "/predict", multipart(content), form),
        (SAME, OWN, "base64", "/invocations", text, models.JSON),
        (MLFLOW.name, MLFLOW, "base64", "/invocations", text, models.JSON),
    )
    found: dict[str, list[float]] = {name: [] for name, *_ in asked}
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        for at, (_, subject, model, path, body, media_type) in enumerate(asked):
            process = stack.enter_context(started(subject, Path(place), directory / model, _PORT + at))
            wait_for_answer(process, _PORT + at, body, media_type, path)
        for number in range(rounds + 1):
            for at, (name, subject, _, path, body, media_type) in enumerate(asked):
                load = good(subject, _PORT + at, body, media_type, 1, path)
                if number:  # the first round warms up
                    found[name].append(load.requests_per_second)
    remarks = {OURS: "a file at /predict", MLFLOW.name: "base64 in JSON"}
    return [Figure(AUDIO, name, "1/s", tuple(rates), remarks.get(name, "")) for name, rates in found.items()]


def recording(size: int) -> bytes:
    """A WAV file of about `size` bytes: noise, one channel of 16 bits at 16 kHz."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(2)
        writer.setframerate(16_000)
        writer.writeframes(random.Random(size).randbytes(size // 2 * 2))  # noqa: S311 - test data
    return file.getvalue()


def multipart(content: bytes) -> bytes:
    """The body of /predict with this recording."""
    parts = (
        ('name="metadata"\r\nContent-Type: application/json', b'{"age": 50}'),
        ('name="aceite"; filename="aceite.wav"\r\nContent-Type: audio/wav', content),
    )
    written = [
        f"--{_BOUNDARY}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + body + b"\r\n"
        for head, body in parts
    ]
    return b"".join([*written, f"--{_BOUNDARY}--\r\n".encode()])
