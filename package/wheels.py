"""Downloads the wheels that the named models and the server need; ./dev bundle starts it.

    python -m package.wheels [--ignore-index-options] DIRECTORY MODEL…

Versions are resolved as a host's build resolves them: a model's own requirements together with the server's few.
"""

import argparse
import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from reconciler.core.text.quote import one_line
from reconciler.steps import hashed_requirements, model_wheels
from reconciler.steps.hashed_requirements import hashed, logical_lines
from reconciler.steps.manifest import Environment
from reconciler.steps.requirements import SERVER_REQUIREMENTS, read_environment, server_package
from reconciler.steps.step_report import StepError
from reconciler.steps.uv import Sources, UvError, as_step_error, because, is_unreachable

MODELS = "models:/"
"""What MLflow's addresses of registered models begin with."""
MOST = 1024**2
"""Bytes of the largest file of a model that may say what it requires."""
_LOGIN = re.compile(r"//[^/\s@]+@")


class BundleError(Exception):
    """The wheels cannot be had; the message is a sentence."""


def main() -> int:
    """Download what the models need into a directory, and print a line for each."""
    parser = argparse.ArgumentParser(prog="./dev bundle", description=__doc__)
    parser.add_argument(
        "--ignore-index-options", action="store_true", help="as build.ignore_index_options on the hosts"
    )
    parser.add_argument("directory", type=Path)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    options = parser.parse_args()
    for model in options.models:
        try:
            python, count = download(model, options.directory, ignore_index_options=options.ignore_index_options)
        except (BundleError, StepError) as error:
            sentence = _LOGIN.sub("//", f"cannot bundle {model}: {error}")
            print(f"dev: {sentence}", file=sys.stderr)  # noqa: T201 - it is a command
            return 1
        print(f"{model}: {count} wheels, Python {python}", flush=True)  # noqa: T201 - it is a command
    return 0


def download(model: str, directory: Path, *, ignore_index_options: bool) -> tuple[str, int]:
    """Download the wheels of one model; return its Python and how many wheels that are.

    `model`: what follows `models:/` in MLflow's addresses, such as `pauses/3` or `pauses@champion`; or a directory with
    a saved model. Raises BundleError and StepError.
    """
    with tempfile.TemporaryDirectory(prefix="bundle-") as temporary:
        room, saved = Path(temporary), Path(model).resolve()
        files = saved if (saved / "MLmodel").is_file() else fetch(model, room / "model")
        environment = read_environment(files, "model", ignore_index_options=ignore_index_options)
        pins = [line for line in resolve(environment, files, room) if _name(line) not in _own(environment)]
        locked = room / "locked.txt"
        locked.write_text("".join(f"{line}\n" for line in pins))
        # pip and not uv, which has no command that downloads. The hashes are those that uv saw.
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        pip += ["--require-hashes", "--only-binary", ":all:", "--python-version", environment.python]
        done = run([*pip, "--dest", str(directory), "--requirement", str(locked)])
        if done.returncode != 0:
            raise BundleError(f"pip says: {one_line(done.stderr, 1000)}; see that this machine reaches its index")
        return environment.python, len(pins)


def fetch(model: str, to: Path) -> Path:
    """Download what a registered model says of its requirements, and its own wheels, but not the model itself."""
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false")
    # Importing it takes seconds, which a saved model needs not wait.
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    to.mkdir()
    try:
        place: Any = get_artifact_repository(f"{MODELS}{model}")
        for path in wanted(place):
            place.download_artifacts(path, str(to))
    # MLflow raises its own, requests', botocore's and plain Python's exceptions.
    except Exception as error:
        server = os.environ.get("MLFLOW_TRACKING_URI") or "no server: MLFLOW_TRACKING_URI is not set"
        why = one_line(str(error), 300)
        raise BundleError(f"{why} ({server}); name it as MLflow does, such as pauses/3 or pauses@champion") from error
    return to


def wanted(place: Any, below: str | None = None) -> Iterator[str]:
    """Name the files of a model that may say what it requires: the small ones, and wheels."""
    for found in place.list_artifacts(below):
        if found.is_dir:
            yield from wanted(place, found.path)
        elif found.path.endswith(".whl") or (found.file_size or 0) <= MOST:
            yield found.path


def resolve(environment: Environment, files: Path, room: Path) -> list[str]:
    """Return one version of each package, with the hashes of its files, as lines of a requirements file."""
    lines = tuple(map(model_wheels.named, environment.requirements))
    own, constraints, server = room / "own.txt", room / "constraints.txt", server_package() / SERVER_REQUIREMENTS
    own.write_text("".join(f"{line}\n" for line in lines))
    constraints.write_text("".join(f"{line}\n" for line in environment.constraints))
    needs = ["--constraint", str(constraints), str(own), str(server)]
    if all(hashed(line)[1] for line in lines):
        # Hosts with build.require_hashes take the server's needs in these versions only.
        listed, known = hashed_requirements.server_needs(lines, server_package())
        (room / "server.txt").write_text("".join(f"{line}\n" for line in listed))
        (room / "known.txt").write_text("".join(f"{line}\n" for line in known))
        needs[-1:] = ["--constraint", str(room / "known.txt"), str(room / "server.txt")]
    if model_wheels.collect(environment.requirements, files, room / "wheels"):
        needs += ["--find-links", str(room / "wheels")]
    uv = [str(Path(sys.prefix) / "bin" / "uv"), "--color", "never", "pip", "compile", "--quiet", "--no-header"]
    uv += ["--no-annotate", "--generate-hashes", "--only-binary", ":all:", "--python-version", environment.python]
    done = run([*uv, *needs])
    if done.returncode != 0:
        error = UvError(done.stderr)
        if is_unreachable(error):
            raise BundleError(f"uv says: {because(error)}; see that this machine reaches its index")
        # The reasons that a host would have.
        raise as_step_error(error, "the model's requirements", Sources())
    return logical_lines(done.stdout)


def _own(environment: Environment) -> set[str]:
    """Name the packages whose wheels are in the model: a host takes them from there, and no other model gets them."""
    wheels = (model_wheels.parse(hashed(line)[0]) for line in environment.requirements)
    return {canonicalize_name(wheel.name) for wheel in wheels if wheel is not None}


def _name(line: str) -> str:
    return canonicalize_name(Requirement(hashed(line)[0]).name)


def run(command: list[str]) -> "subprocess.CompletedProcess[str]":
    """Run a program, whatever it ends with."""
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - put together above


if __name__ == "__main__":
    sys.exit(main())
