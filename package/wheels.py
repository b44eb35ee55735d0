"""Downloads the wheels that the named models and the server need; ./dev bundle starts it.

    python -m package.wheels DIRECTORY MODEL…

Versions are resolved as a host's build resolves them: a model's own requirements together with the server's few.
"""

import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from reconciler.core.text.quote import one_line
from reconciler.steps import hashed_requirements, model_wheels
from reconciler.steps.hashed_requirements import logical_lines
from reconciler.steps.manifest import Environment
from reconciler.steps.requirements import SERVER_REQUIREMENTS, read_environment, server_package
from reconciler.steps.step_report import StepError
from reconciler.steps.uv import Sources, UvError, as_step_error, because, is_unreachable

MODELS = "models:/"
"""What MLflow's addresses of registered models begin with."""


class BundleError(Exception):
    """The wheels cannot be had; the message is a sentence."""


def main(arguments: list[str]) -> int:
    """Download into the first argument what the others need, and print a line for each."""
    directory, models = Path(arguments[0]), arguments[1:]
    for model in models:
        try:
            environment, count = download(model, directory)
        except (BundleError, StepError) as error:
            print(f"dev: cannot bundle {model}: {error}", file=sys.stderr)  # noqa: T201 - it is a command
            return 1
        print(f"{model}: {count} wheels, Python {environment.python}", flush=True)  # noqa: T201 - it is a command
    return 0


def download(model: str, directory: Path) -> tuple[Environment, int]:
    """Download the wheels of one model; return what it needs, and how many packages that are.

    `model`: what follows `models:/` in MLflow's addresses, such as `pauses/3` or `pauses@champion`; or a directory with
    a saved model. Raises BundleError and StepError.
    """
    with tempfile.TemporaryDirectory(prefix="bundle-") as temporary:
        files = Path(model) if (Path(model) / "MLmodel").is_file() else fetch(model, Path(temporary) / "model")
        environment = read_environment(files, "model", ignore_index_options=True)
        own = Path(temporary) / "own"
        has_own = model_wheels.collect(environment.requirements, files, own)
        places = ["--find-links", str(own)] if has_own else []
        pins = resolve(environment, places, Path(temporary))
        locked = Path(temporary) / "locked.txt"
        locked.write_text(pins)
        # pip and not uv, which has no command that downloads. The hashes are those that uv saw.
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        pip += ["--require-hashes", "--only-binary", ":all:", "--python-version", environment.python]
        done = run([*pip, *places, "--dest", str(directory), "--requirement", str(locked)])
        if done.returncode != 0:
            raise BundleError(f"pip says: {one_line(done.stderr, 1000)}; see that this machine reaches its index")
        return environment, len(logical_lines(pins))


def fetch(model: str, to: Path) -> Path:
    """Download a registered model's files from the server that MLFLOW_TRACKING_URI names."""
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR="false")
    # Importing it takes seconds, which a saved model needs not wait.
    import mlflow.artifacts
    from mlflow.exceptions import MlflowException

    to.mkdir()
    try:
        return Path(mlflow.artifacts.download_artifacts(f"{MODELS}{model}", dst_path=str(to)))
    except (MlflowException, OSError) as error:
        server = os.environ.get("MLFLOW_TRACKING_URI") or "no server: MLFLOW_TRACKING_URI is not set"
        why = one_line(str(error), 300)
        raise BundleError(f"{why} ({server}); name it as MLflow does, such as pauses/3 or pauses@champion") from error


def resolve(environment: Environment, places: list[str], room: Path) -> str:
    """Return one version of each package, with the hashes of its files, as a requirements file.

    `places`: options that name the model's own wheels.
    """
    lines = tuple(map(model_wheels.named, environment.requirements))
    own, constraints, server = room / "own.txt", room / "constraints.txt", server_package() / SERVER_REQUIREMENTS
    own.write_text("".join(f"{line}\n" for line in lines))
    constraints.write_text("".join(f"{line}\n" for line in environment.constraints))
    needs = ["--constraint", str(constraints), str(own), str(server)]
    if all(hashed_requirements.hashed(line)[1] for line in lines):
        # Hosts with build.require_hashes take the server's needs in these versions only.
        listed, known = hashed_requirements.server_needs(lines, server_package())
        (room / "server.txt").write_text("".join(f"{line}\n" for line in listed))
        (room / "known.txt").write_text("".join(f"{line}\n" for line in known))
        needs[-1:] = ["--constraint", str(room / "known.txt"), str(room / "server.txt")]
    uv = [str(Path(sys.prefix) / "bin" / "uv"), "--color", "never", "pip", "compile", "--quiet", "--no-header"]
    uv += ["--no-annotate", "--generate-hashes", "--only-binary", ":all:", "--python-version", environment.python]
    done = run([*uv, *places, *needs])
    if done.returncode != 0:
        error = UvError(done.stderr)
        if is_unreachable(error):
            raise BundleError(f"uv says: {because(error)}; see that this machine reaches its index")
        # The reasons that a host would have.
        raise as_step_error(error, "the model's requirements", Sources())
    return done.stdout


def run(command: list[str]) -> "subprocess.CompletedProcess[str]":
    """Run a program, whatever it ends with."""
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - put together above


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
