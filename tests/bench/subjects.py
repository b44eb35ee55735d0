"""The servers that are compared: their environments, how each is started, and when it is ready."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.bench.figures import OURS

CHECKOUT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("MLFLOW_SYSTEMD_BENCH", "/var/tmp/mlflow-systemd-bench"))  # noqa: S108 - shared by runs, as the packages are
"""Where the peers' environments are; they are made once, and again when their requirements change."""
PATIENCE = 120.0
BATCH = f"{OURS}, deploy.batch"
_UV = Path(sys.executable).with_name("uv")
_BENTO = """
import bentoml, mlflow, pandas
@bentoml.service
class Model:
    def __init__(self):
        self.model = mlflow.pyfunc.load_model({model!r})
    @bentoml.api(route="/invocations")
    def invocations(self, dataframe_split: dict) -> dict:
        table = pandas.DataFrame(dataframe_split["data"], columns=dataframe_split["columns"])
        return {{"predictions": self.model.predict(table).tolist()}}
"""


@dataclass(frozen=True)
class Subject:
    """One server: `command` gives what is run, with its directory, model and port."""

    name: str
    environment: str
    """The requirements file in tests/bench/peers that it runs with, without its ending."""
    command: Callable[[Path, Path, int], Sequence[str]]


def _ours(*options: str) -> Callable[[Path, Path, int], Sequence[str]]:
    def command(_: Path, model: Path, port: int) -> Sequence[str]:
        named = ("--name", "bench", "--version", "1", "--release", "1.00000000", "--bind", f"127.0.0.1:{port}")
        return "python", "-m", "modelserver", "serve", "--model-dir", str(model), *named, *options

    return command


def _mlflow(_: Path, model: Path, port: int) -> Sequence[str]:
    return "mlflow", "models", "serve", "-m", str(model), "-p", str(port), "--env-manager", "local"


def _mlserver(directory: Path, model: Path, port: int) -> Sequence[str]:
    ports = {"http_port": port, "grpc_port": port + 1000, "metrics_port": port + 2000}
    settings = {"name": "bench", "implementation": "mlserver_mlflow.MLflowRuntime", "parameters": {"uri": str(model)}}
    (directory / "settings.json").write_text(json.dumps({**ports, "parallel_workers": 0, "debug": False}))
    (directory / "model-settings.json").write_text(json.dumps(settings))
    return "mlserver", "start", str(directory)


def _bentoml(directory: Path, model: Path, port: int) -> Sequence[str]:
    (directory / "service.py").write_text(_BENTO.format(model=str(model)))
    return "bentoml", "serve", "service:Model", "--working-dir", str(directory), "-p", str(port)


OWN = Subject(OURS, "ours", _ours())
BATCHING = Subject(BATCH, "ours", _ours("--batch"))
MLFLOW = Subject("mlflow models serve 3.17.2", "ours", _mlflow)
MLSERVER = Subject("MLServer 1.7.1", "mlserver", _mlserver)
BENTOML = Subject("BentoML 1.4.40", "bentoml", _bentoml)


def environment(name: str) -> Path:
    """The directory of an environment, made if it is missing."""
    requirements = CHECKOUT / "tests/bench/peers" / f"{name}.txt"
    own = CHECKOUT / "modelserver/requirements.txt"
    place, stamp = CACHE / name, CACHE / f"{name}.stamp"
    wanted = requirements.read_text() + own.read_text()
    if not stamp.exists() or stamp.read_text() != wanted:
        sys.stderr.write(f"bench: makes the environment {name}\n")
        uv = str(_UV)
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", "/usr/bin/python3", str(place)], check=True)
        also = ["-r", str(own)] if name == "ours" else []
        install = [uv, "pip", "install", "--quiet", "--python", str(place), "-r", str(requirements), *also]
        subprocess.run(install, check=True)
        stamp.write_text(wanted)
    return place


def run_in(name: str, *arguments: str) -> str:
    """What a Python program prints that runs in an environment."""
    command = [str(environment(name) / "bin/python"), "-W", "ignore", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=CACHE, env=variables())
    return done.stdout


def variables(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment variables of every subject; nothing of the caller's own but PATH and HOME."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "BENTOML_DO_NOT_TRACK": "True", "PYTHONPATH": str(CHECKOUT)}
    return {**kept, **quiet, **(more or {})}


@contextmanager
def started(subject: Subject, directory: Path, model: Path, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """A server, which is not ready yet; it is ended with all of its processes."""
    place = directory / f"{subject.environment}-{port}"
    place.mkdir()
    program, *arguments = subject.command(place, model, port)
    binaries = environment(subject.environment) / "bin"
    path = f"{binaries}{os.pathsep}{os.environ['PATH']}"
    with (place / "output").open("wb") as output:
        process = subprocess.Popen(
            [binaries / program, *arguments],
            cwd=place,
            env=variables({"PATH": path}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        for end in (15, 9):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, end)
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)


def wait_for_answer(
    process: "subprocess.Popen[bytes]", port: int, body: bytes, media_type: str, path: str = "/invocations"
) -> float:
    """Ask until the first good answer; the time at which it came, as time.monotonic() counts."""
    deadline = time.monotonic() + PATIENCE
    headers = {"content-type": media_type}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, trust_env=False) as client:
        said: object = "nothing"
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise RuntimeError(f"the server on port {port} ended with {process.returncode}")
            try:
                answer = client.post(path, content=body, headers=headers)
            except httpx.TransportError as error:
                said = error
                time.sleep(0.005)  # between two attempts: nothing tells that a foreign server is ready
                continue
            if answer.status_code == 200:
                return time.monotonic()
            said = answer.text
            time.sleep(0.005)  # the same
    raise TimeoutError(f"no good answer on port {port} within {PATIENCE:.0f} s; it said {said}")


def memory(process: "subprocess.Popen[bytes]") -> float:
    """MB (PSS) of all processes of a server's session."""
    total = 0
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            if entry.name.isdecimal() and os.getsid(int(entry.name)) == process.pid:
                lines = (entry / "smaps_rollup").read_text().splitlines()
                total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1000
