#!/usr/bin/env python3
"""Checks a model, logs it in MLflow and registers it as a new version; a person promotes it afterwards.

    python3 pipeline.py                                      asks for the name, takes ModelTemplate below
    python3 pipeline.py --name cough --model cough.py:Cough  takes a class of another file

It needs an ordinary account and `pip install mlflow`, nothing else. It never touches the host that serves the model.
Exit codes: 0 registered (or checked, with --dry-run), 1 refused or failed, 2 used wrongly, 130 interrupted.
"""

from __future__ import annotations

import argparse
import ast
import getpass
import importlib.metadata
import importlib.util
import json
import logging
import math
import numbers
import os
import re
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
import wave
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

if TYPE_CHECKING or __name__ != "__main__":
    from mlflow.pyfunc.model import PythonModel
else:
    # As a script, this file only reads the class below as text; what is served imports it as the module `pipeline`.
    # So `--help` and a wrong flag answer at once (importing MLflow takes seconds) and a missing MLflow is a sentence.
    PythonModel = object


class ModelTemplate(PythonModel):
    """The model to fill in. Import what it needs inside the methods or at the top of this file."""

    def load_context(self, context: Any) -> None:
        """Prepare the model: called once, before the first prediction.

        Read weights here rather than in predict: every `--artifact KEY=PATH` is at `context.artifacts["KEY"]`, a path
        on the machine that serves the model. The same context is handed to predict.

        :param context: MLflow's PythonModelContext.
        """

    # No type on model_input: from one, MLflow would derive a schema and check or convert what the server hands over.
    def predict(self, context, model_input) -> tuple[list[float], str]:  # type: ignore  # see the line above
        """Answer one inference.

        :param context: MLflow's PythonModelContext, the one load_context got.
        :param model_input: two dictionaries: first the metadata of the inference (EXAMPLE_METADATA below shows the
            keys; `age` is an integer or None, the others are strings and some may be None), then the recordings, by
            part: `{"aceite": {"content": bytearray, "filename": "aceite.wav"}, "sustentada": …, "parlenda": …,
            "frase": …}`. A part may be absent.
        :returns: a list of numbers, and the diagnosis: "positive", "negative" or "inconclusive".
        """
        raise NotImplementedError


DIAGNOSES = ("positive", "negative", "inconclusive")
NAME = re.compile(r"[a-zA-Z0-9_-]+")
NAME_MAX = 64
DEFAULT_REGISTRY = "http://127.0.0.1:5000"
LOADER = "served_model.py"
METADATA_SECONDS, UPLOAD_SECONDS, READY_SECONDS = 10, 300, 60
# The model server allows the replayed example the same (modelserver/model/replay.py): rounding, not another answer.
TOLERANCE = {"rel_tol": 1e-3, "abs_tol": 1e-5}

EXAMPLE_METADATA: dict[str, Any] = {
    "id": "638f56f70acda5864ee0203a",
    "model_id": "629f992d45cda830033cf4cd",
    "rgh": "12345678",
    "mask_type": "THICK",
    "gender": "Feminino",
    "covid_status": "TRUE",
    "local": "Outro",
    "age": 23,
    "cid": "12345",
    "bpm": "17",
    "respiratory_frequency": "13",
    "respiratory_insufficiency_status": "true",
    "location": "location",
    "last_positive_diagnose_date": "2022-12-01",
    "hospitalized": "true",
    "hospitalization_start": "2022-12-02",
    "hospitalization_end": "2022-12-05",
    "spo2": "23",
    "status": "completed",
    "user_id": "638edab749a120cb7cdb295d",
    "created_in": "2022-12-06 14:51:35.771148",
}
# part: (pitch in Hz, spoken seconds, silent seconds, times)
EXAMPLE_PARTS = {
    "aceite": (180.0, 0.35, 0.15, 3),
    "sustentada": (220.0, 1.5, 0.0, 1),
    "parlenda": (200.0, 0.2, 0.1, 5),
    "frase": (190.0, 0.5, 0.25, 2),
}


class Refusal(Exception):  # noqa: N818 - it is a refusal, not an error of the program
    """A sentence for the person at the keyboard: what cannot be done, why, and what to do."""

    def __init__(self, what: str, why: str, remedy: str, code: int = 1) -> None:
        """Take the three parts of the sentence and the exit code."""
        super().__init__(f"cannot {what}: {why}; {remedy}")
        self.code = code


class WrongAnswerError(Exception):
    """What a model answered is not what the contract asks for."""


@dataclass
class Done:
    """How far the work got, so that an interruption can say what exists in the registry and what does not."""

    run_id: str = ""
    logging: bool = False
    model_uri: str = ""
    named: bool = False
    registering: bool = False
    version: str = ""
    ready: bool = False

    def summary(self, name: str, page: str) -> str:
        """Return one sentence about what is and is not registered."""
        if self.ready:
            return f"version {self.version} of {name} is registered and READY: {page}"
        if self.version:
            return f"version {self.version} of {name} was created but is not READY yet: look at {page}"
        if self.registering:
            return f"whether a version of {name} was created is not known: look at {page}"
        if self.model_uri:
            what = f"{name} was registered, without any version" if self.named else f"nothing was registered as {name}"
            return f"the model is logged (run {self.run_id}) but {what}"
        if self.run_id or self.logging:
            return f"nothing was registered as {name}; run {self.run_id or 'just begun'} holds an incomplete model"
        return "nothing was logged, nothing was registered"


@dataclass(frozen=True)
class Example:
    """One request as the server gets it, with the files that it came from."""

    metadata: dict[str, Any]
    parts: dict[str, tuple[str, bytes]]

    def model_input(self) -> list[Any]:
        """Return a fresh copy: a model may change what it is given."""
        recordings = {
            part: {"content": bytearray(content), "filename": filename}
            for part, (filename, content) in self.parts.items()
        }
        return [json.loads(json.dumps(self.metadata)), recordings]

    def write(self, folder: Path, answer: tuple[list[float], str] | None) -> None:
        """Write what the host replays before it lets a release serve: the request, its bytes, the answer."""
        folder.mkdir(exist_ok=True)
        request: dict[str, Any] = {"schema": 1, "metadata": self.metadata, "parts": {}}
        for part, (filename, content) in self.parts.items():
            stored = part + (Path(filename).suffix if re.fullmatch(r"\.\w{1,8}", Path(filename).suffix) else ".wav")
            (folder / stored).write_bytes(content)
            request["parts"][part] = {"file": stored, "filename": filename}
        write_json(folder / "request.json", request)
        if answer is not None:
            write_json(folder / "response.json", {"output": answer[0], "diagnosis": answer[1]})


@dataclass
class ModelSource:
    """The class that the user wants served, the code it needs and where each staged file came from."""

    file: Path
    class_name: str
    code: list[Path]
    artifacts: dict[str, Path]
    origin: dict[str, Path] = field(default_factory=dict)

    @property
    def spec(self) -> str:
        """Return FILE:CLASS as messages show it."""
        return f"{self.file.name}:{self.class_name}"


# ---------------------------------------------------------------------------------------------------------- words


def say(line: str = "") -> None:
    """Write one line of progress; that nobody reads it any more (`| head`) is no reason to stop half-way."""
    try:
        sys.stdout.write(redact(line) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def warn(line: str) -> None:
    """Write one line that should be read although nothing failed."""
    sys.stderr.write(f"warning: {redact(line)}\n")


def redact(text: str) -> str:
    """Remove passwords: user names and passwords in addresses, and the values of the secret settings."""
    text = re.sub(r"(?<=://)[^/\s'\"@]+@", "", text)
    for key, value in os.environ.items():
        if re.search(r"(PASSWORD|TOKEN|SECRET|ACCESS_KEY|ACCESS_KEY_ID)$", key) and len(value) >= 4:
            text = text.replace(value, "***")
    return text


def plain(text: object, limit: int = 200) -> str:
    """Return one line without control characters: what comes from outside may not steer the terminal."""
    line = " ".join("".join(c if c.isprintable() or c.isspace() else "?" for c in str(text)).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def write_json(path: Path, value: Any) -> None:
    """Write strict JSON (no NaN), readable for people."""
    path.write_text(json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1) + "\n", encoding="utf-8")


def human(size: int) -> str:
    """Return a size with its unit."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


# ------------------------------------------------------------------------------------------------------- settings


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; argparse itself exits with 2 on wrong usage."""
    parser = argparse.ArgumentParser(
        prog="pipeline.py",
        description="Check a model, log it in MLflow and register it as a new version. Promotion stays with you.",
        epilog="Settings come from flags, then the environment, then .env (beside you, else beside this file): "
        "MLFLOW_TRACKING_URI (or MLFLOW_CONN_URL), MLFLOW_WORKSPACE, MLFLOW_TRACKING_USERNAME, "
        "MLFLOW_TRACKING_PASSWORD, MLFLOW_TRACKING_TOKEN, MLFLOW_S3_ENDPOINT_URL, AWS_ACCESS_KEY_ID, "
        "AWS_SECRET_ACCESS_KEY, …",
    )
    parser.add_argument("--name", help="name of the registered model: [a-zA-Z0-9_-]+, at most 64; asked when absent")
    parser.add_argument("--update", action="store_true", help="yes, add a version to a name that exists already")
    parser.add_argument("--model", metavar="FILE:CLASS", help="the class to serve (default: ModelTemplate in here)")
    parser.add_argument("--example", type=Path, metavar="FILE", help="request to check with, JSON (default: built in)")
    parser.add_argument(
        "--requirements", type=Path, metavar="FILE", help="what the model needs (default: found by MLflow)"
    )
    parser.add_argument(
        "--code", type=Path, action="append", default=[], metavar="PATH", help="file or directory to ship; repeat"
    )
    parser.add_argument(
        "--artifact", action="append", default=[], metavar="KEY=PATH", help="weights and other data to ship; repeat"
    )
    parser.add_argument("--experiment", metavar="NAME", help="MLflow experiment of the run (default: the model's name)")
    parser.add_argument("--tracking-uri", metavar="URL", help=f"the MLflow server (default: {DEFAULT_REGISTRY})")
    parser.add_argument(
        "--workspace", metavar="NAME", help="the server's workspace, if it has several (default: its own)"
    )
    parser.add_argument("--env-file", type=Path, metavar="FILE", help="settings to read instead of .env")
    parser.add_argument("--dry-run", action="store_true", help="check everything, write nothing to the MLflow server")
    parser.add_argument("--allow-root", action="store_true", help="run as root although nothing here needs it")
    parser.add_argument("--verbose", action="store_true", help="show what MLflow itself logs")
    return parser.parse_args(argv)


def read_env_file(given: Path | None) -> dict[str, str]:
    """Return the settings of `--env-file`, or of .env in the current directory, or of .env beside this file."""
    from dotenv import dotenv_values

    if given is not None and not given.is_file():
        raise Refusal(f"read {given}", "there is no such file", "check --env-file", 2)
    candidates = [given] if given is not None else [Path(".env"), Path(__file__).resolve().parent / ".env"]
    for path in candidates:
        if not path.is_file():
            continue
        try:
            # interpolate=False: a password may contain ${…}
            return {key: value for key, value in dotenv_values(path, interpolate=False).items() if value}
        except (OSError, UnicodeDecodeError) as error:
            raise Refusal(f"read {path}", plain(error), "make it a readable text file of KEY=VALUE lines", 2) from error
    return {}


def apply_settings(flag: str | None, env_file: Mapping[str, str], workspace: str | None = None) -> str:
    """Put flags, environment and .env, in that order, where MLflow looks for them; return the server's address."""
    if workspace is not None:
        os.environ["MLFLOW_WORKSPACE"] = workspace
    layers: list[Mapping[str, str]] = [{"MLFLOW_TRACKING_URI": flag or ""}, dict(os.environ), env_file]
    found = (layer.get(key) for layer in layers for key in ("MLFLOW_TRACKING_URI", "MLFLOW_CONN_URL"))
    address = next((value for value in found if value), DEFAULT_REGISTRY).rstrip("/")
    for key, value in env_file.items():
        if not os.environ.get(key) and not (key == "MLFLOW_WORKSPACE" and workspace is not None):
            os.environ[key] = value
    os.environ["MLFLOW_TRACKING_URI"] = address
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    os.environ["MLFLOW_UV_AUTO_DETECT"] = "false"  # the project in the current directory is not the model's
    os.environ["GIT_PYTHON_REFRESH"] = "quiet"
    if not sys.stderr.isatty():
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    if not re.match(r"https?://[^/]", address):
        raise Refusal(
            f"use {plain(address)}",
            "it is not the address of an MLflow server",
            "give one like http://mlflow.example:5000 with --tracking-uri or MLFLOW_TRACKING_URI",
            2,
        )
    if not re.fullmatch(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9]))?", active_workspace()):
        raise Refusal(
            f"use the workspace {plain(repr(active_workspace()), 80)}",
            "names of workspaces have small letters, digits and -",
            "check --workspace or MLFLOW_WORKSPACE",
            2,
        )
    return address


def active_workspace() -> str:
    """Return the workspace that MLflow's client asks the server for; empty where it leaves that to the server."""
    return os.environ.get("MLFLOW_WORKSPACE", "").strip()


def quiet_mlflow() -> None:
    """Hide MLflow's own advice (it resets Python's warning filters, so a filter would not do); the model's is shown."""
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    show = warnings.showwarning

    def show_others(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if f"{os.sep}mlflow{os.sep}" not in filename:
            show(message, category, filename, lineno, file, line)

    warnings.showwarning = show_others


@contextmanager
def patience(seconds: int, retries: int) -> Iterator[None]:
    """Bound MLflow's HTTP requests: with its defaults one call to a dead server takes minutes."""
    wanted = {"MLFLOW_HTTP_REQUEST_TIMEOUT": str(seconds), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": str(retries)}
    before = {key: os.environ.get(key) for key in wanted}
    os.environ.update({key: value for key, value in wanted.items() if not before[key]})
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


def leave_own_folders() -> None:
    """Take the folders of this script and of the user out of Python's path.

    The machine that serves the model does not have them: what the model imports from there must come by --code, and
    the check must notice when it does not.
    """
    own = {str(Path(__file__).resolve().parent), str(Path.cwd()), ""}
    own.update(str(Path(entry).resolve()) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry)
    sys.path[:] = [entry for entry in sys.path if entry not in own and str(Path(entry).resolve()) not in own]


# --------------------------------------------------------------------------------------------- the name, the user


def account() -> str:
    """Return who runs this, as the next person's question about an existing name shows it."""
    try:
        return os.environ.get("MLFLOW_TRACKING_USERNAME") or getpass.getuser()
    except (KeyError, OSError):  # an account that has no name, as in some containers
        return f"uid {os.getuid()}"


def check_name(name: str) -> str | None:
    """Return why a name is not allowed, or None."""
    if not NAME.fullmatch(name):
        return "only letters a-z A-Z, digits, - and _ are allowed"
    if name.startswith("-"):
        return "it starts with -"
    if len(name) > NAME_MAX:
        return f"it has {len(name)} characters, {NAME_MAX} are allowed"
    return None


def choose_name(given: str | None) -> str:
    """Return the name from --name, or ask for it; a terminal may try again."""
    while True:
        if given is None:
            try:
                name = input("Name of the model (letters, digits, - and _): ").strip()
            except EOFError:
                say()
                raise Refusal("ask for the model's name", "there is nobody to answer", "give --name NAME", 2) from None
        else:
            name = given
        problem = check_name(name)
        if problem is None:
            return name
        refusal = Refusal(f"use the name {plain(repr(name), 80)}", problem, "choose another, like my-model_2", 2)
        if given is not None or not sys.stdin.isatty():
            raise refusal
        say(str(refusal))


def confirm_update(name: str, update: bool) -> None:
    """Make sure that nobody adds a version to somebody's model unknowingly."""
    if update:
        return
    if not sys.stdin.isatty():
        remedy = "add --update if you mean it, or choose another --name"
        raise Refusal(f"register {name}", "the name exists already", remedy, 2)
    try:
        answer = input(f"Add a new version to {name}? Type yes: ")
    except EOFError:
        answer = ""
        say()
    if answer.strip().lower() not in ("y", "yes"):
        raise Refusal(f"register {name}", "you did not say yes", "choose another --name")


# ------------------------------------------------------------------------------------------------ the local files


def find_model(given: str | None, code: list[Path], artifacts: list[str]) -> ModelSource:
    """Read --model, --code and --artifact; look into the file without running it."""
    own = Path(__file__).resolve()
    file_name, separator, class_name = (given or f"{own}:ModelTemplate").rpartition(":")
    if not separator or not file_name or not class_name.isidentifier():
        raise Refusal(f"use --model {plain(given)}", "it is not FILE:CLASS", "write it like cough.py:Cough", 2)
    file = Path(file_name)
    if not file.is_file() or file.suffix != ".py":
        raise Refusal(f"use --model {plain(given)}", f"{file} is not a Python file", "check the path", 2)
    source = ModelSource(file.resolve(), class_name, [], {})
    check_class(source)
    entries = [source.file, *(path.resolve() for path in code)]
    for path in entries:
        if not path.exists():
            raise Refusal(f"ship {path}", "there is no such file or directory", "check --code", 2)
        importable_name(path)
        if any(path.name == other.name and path != other for other in entries):
            raise Refusal(f"ship {path}", f"two things are named {path.name}", "rename one of them", 2)
    source.code = list(dict.fromkeys(entries))
    for item in artifacts:
        key, separator, path_name = item.partition("=")
        path = Path(path_name)
        if not separator or not re.fullmatch(r"\w[\w.-]*", key) or key == "replay":
            why = "replay is taken by the example" if key == "replay" else "it is not KEY=PATH"
            raise Refusal(f"use --artifact {plain(item)}", why, "write it like weights=weights.npz", 2)
        if not path_name or not path.exists() or path.name == "replay":
            why = "a file of that name is taken by the example" if path.name == "replay" else f"{path} does not exist"
            raise Refusal(f"use --artifact {plain(item)}", why, "check the path", 2)
        if key in source.artifacts:
            raise Refusal(f"use --artifact {plain(item)}", f"{key} is given twice", "choose another key", 2)
        source.artifacts[key] = path.resolve()
    return source


def importable_name(path: Path) -> None:
    """Refuse a file or folder whose name would be imported as something else where the model is served."""
    module = path.stem if path.is_file() else path.name
    if path.is_file() and path.suffix == ".py" and module in sys.stdlib_module_names:
        raise Refusal(f"ship {path.name}", f"Python has a module {module} of its own", "rename the file", 2)
    # A module name with a dot would import its parent; none of the user's own files can be meant then.
    if path.is_file() and path.suffix == ".py" and "." in module:
        raise Refusal(f"ship {path.name}", "its name has a dot too many for a module", "rename the file", 2)
    found = importlib.util.find_spec(module) if "." not in module else None
    if found is not None and found.origin and (path.is_dir() or path.suffix == ".py"):
        raise Refusal(
            f"ship {path.name}", f"an installed package is named {module} too ({found.origin})", "rename it", 2
        )


def check_class(source: ModelSource) -> None:
    """Refuse a file that is not Python, a class that is not in it, a template that was not filled in."""
    try:
        tree = ast.parse(source.file.read_bytes(), str(source.file))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        why = f"{type(error).__name__}: {plain(getattr(error, 'msg', error))} (line {line})"
        raise Refusal(f"read {source.file.name}", why, "correct it") from error
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    found = classes.get(source.class_name)
    if found is None:
        # Imported, assigned or defined under an `if`: then running it will tell.
        if re.search(rf"\b{source.class_name}\b|import \*", ast.unparse(tree)):
            return
        listed = ", ".join(classes) or "no class at all"
        raise Refusal(f"use {source.spec}", f"{source.file.name} has {listed}", "check the CLASS in FILE:CLASS", 2)
    for method in found.body:
        if isinstance(method, ast.FunctionDef) and method.name == "predict" and is_template(method.body):
            raise Refusal(
                f"use {source.spec}",
                "its predict is not written yet",
                f"fill in {source.class_name} in {source.file.name}, or give --model FILE:CLASS",
            )


def is_template(body: list[ast.stmt]) -> bool:
    """Tell whether a method is nothing but its docstring and `pass`, `...` or `raise NotImplementedError`."""
    rest = [node for node in body if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))]
    return all(ast.unparse(node) in ("pass", "raise NotImplementedError") for node in rest)


def read_example(path: Path | None) -> Example:
    """Return the example of `--example FILE`, or the built-in one with generated recordings."""
    if path is None:
        parts = {part: (f"{part}.wav", generated_wav(*shape)) for part, shape in EXAMPLE_PARTS.items()}
        return Example(EXAMPLE_METADATA, parts)

    def refuse(why: str) -> NoReturn:
        raise Refusal(f"use the example {path}", why, "see docs/first-model.md for the format", 2)

    try:
        request = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        refuse(plain(error))
    if not isinstance(request, dict) or request.get("schema") != 1:
        refuse('it is not a JSON object with "schema": 1')
    metadata, listed = request.get("metadata"), request.get("parts")
    if not isinstance(metadata, dict) or not isinstance(listed, dict):
        refuse('"metadata" and "parts" must be objects')
    read: dict[str, tuple[str, bytes]] = {}
    for part, entry in listed.items():
        if not NAME.fullmatch(part) or not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
            refuse(f'part {plain(repr(part), 60)} must be {{"file": …, "filename": …}} and have a plain name')
        file_name = entry.get("filename", Path(entry["file"]).name)
        if not isinstance(file_name, str) or "/" in file_name:
            refuse(f"the filename of part {part} is not a file name")
        try:
            read[part] = (file_name, (path.parent / entry["file"]).read_bytes())
        except (OSError, ValueError) as error:
            refuse(plain(error))
    try:
        json.dumps(metadata, allow_nan=False)
    except ValueError:
        refuse("its metadata has NaN or Infinity, which is not JSON")
    return Example(metadata, read)


def generated_wav(pitch: float, spoken: float, silent: float, times: int) -> bytes:
    """Return a short recording, 16-bit mono at 16 kHz: a buzzing voice with pauses, the same bytes every time."""
    rate = 16_000
    period = [
        round(6000 * sum(math.sin(2 * math.pi * pitch * harmonic * n / rate) / harmonic for harmonic in (1, 2, 3)))
        for n in range(round(spoken * rate))
    ]
    samples = (period + [0] * round(silent * rate)) * times
    with tempfile.TemporaryFile() as file:
        with wave.open(file, "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(rate)
            out.writeframes(struct.pack(f"<{len(samples)}h", *samples))
        file.seek(0)
        return file.read()


def read_requirements(path: Path) -> list[str]:
    """Return the plain requirement lines of a file; options and local paths mean nothing on another machine."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise Refusal(f"read {path}", plain(error), "check --requirements", 2) from error
    wanted = []
    for number, line in enumerate(lines, 1):
        text = re.sub(r"(^|\s)#.*", "", line).strip()
        if not text:
            continue
        try:
            usable = Requirement(text).url is None
        except InvalidRequirement:
            usable = False
        if not usable:
            why = f"line {number} is {plain(repr(redact(text)), 80)}"
            remedy = "write one NAME or NAME==VERSION a line: indexes and addresses are the host's settings"
            raise Refusal(f"use {path.name}", why, remedy, 2)
        wanted.append(text)
    return wanted


# ---------------------------------------------------------------------------------------- the model, run as served


def stage(source: ModelSource, folder: Path) -> list[str]:
    """Copy the code that is shipped (no hidden files: .env, .git) and write the loader; return MLflow's code_paths.

    The model is logged as code, not pickled: the registry shows what will run, nothing depends on the Python or
    cloudpickle version of this machine, and MLflow can be told to refuse pickles. The class is made without arguments.
    """
    hidden = shutil.ignore_patterns(".*", "__pycache__", "*.pyc")
    code = folder / "code"
    code.mkdir()
    for path in source.code:
        target = code / path.name
        if path.is_dir():
            shutil.copytree(path, target, ignore=hidden)
            for copy in target.rglob("*"):
                source.origin[str(copy.relative_to(code))] = path / copy.relative_to(target)
        else:
            shutil.copyfile(path, target)
            source.origin[path.name] = path
    (folder / LOADER).write_text(
        f'"""Written by pipeline.py: names the class in code/ that is this model, so that nothing is unpickled."""\n\n'
        f"import importlib\n\nfrom mlflow.models import set_model\n\n"
        f"model_class = importlib.import_module({source.file.stem!r}).{source.class_name}\n"
        f"set_model(model_class())\n",
        encoding="utf-8",
    )
    return [str(code / path.name) for path in source.code]


def forget_modules(folder: Path) -> None:
    """Drop what was imported from a folder, so that loading the saved model imports the saved copy."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(f"{folder}{os.sep}"):
            del sys.modules[name]


@contextmanager
def elsewhere(folder: Path) -> Iterator[None]:
    """Work in an empty folder: on the host, no file of the current directory is there to be opened."""
    before = Path.cwd()
    folder.mkdir()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def run_as_served(source: ModelSource, example: Example, folder: Path, saving: dict[str, Any]) -> Any:
    """Save the model, load it back and predict twice, as the server does; return the checked answer."""
    import mlflow.pyfunc

    saved, staged = folder / "model", folder / "code"
    needed = [f"mlflow-skinny=={mlflow.__version__}"]
    try:
        sys.path.insert(0, str(staged))
        try:
            mlflow.pyfunc.save_model(str(saved), pip_requirements=needed, **saving)
        finally:
            sys.path.remove(str(staged))
            forget_modules(folder)
        model = mlflow.pyfunc.load_model(str(saved))
        first, second = model.predict(example.model_input()), model.predict(example.model_input())
    except (Exception, SystemExit) as error:
        raise model_failed(source, error, (saved / "code", staged)) from error
    try:
        answer = check_output(first)
        again = check_output(second)
    except WrongAnswerError as problem:
        wanted = "return a list of numbers and one of positive, negative, inconclusive, like ([0.1, 0.2], 'negative')"
        raise Refusal(f"accept {source.spec}", str(problem), wanted) from problem
    if not same_answer(answer, again):
        warn(
            f"{source.spec} answered the same example differently the second time ({shown(answer)}, then "
            f"{shown(again)}). The host replays the example before it serves a version and expects the same answer: "
            "seed what is random, or the version may be rejected there."
        )
    return answer


def model_failed(source: ModelSource, error: BaseException, folders: Iterable[Path]) -> Refusal:
    """Say which exception a model raised and on which line of the user's own file."""
    while type(error).__module__.startswith("mlflow.") and error.__cause__ is not None:
        error = error.__cause__
    place, remedy = "", "correct it"
    for frame in traceback.extract_tb(error.__traceback__):
        for folder in folders:
            if frame.filename.startswith(f"{folder}{os.sep}"):
                original = source.origin.get(str(Path(frame.filename).relative_to(folder)), source.file)
                place = f" ({original.name}, line {frame.lineno}: {plain(frame.line or '', 100)})"
    if isinstance(error, ModuleNotFoundError):
        module = (error.name or "").partition(".")[0]
        neighbours = (source.file.parent / f"{module}.py", source.file.parent / module)
        beside = next((path for path in neighbours if module and path.exists()), None)
        remedy = (
            f"add --code {beside}" if beside else f"pip install the package that has {module}, or ship it by --code"
        )
    elif isinstance(error, FileNotFoundError):
        remedy = "ship the file with --artifact KEY=PATH and open context.artifacts[KEY]: no other file is on the host"
    elif type(error).__module__.startswith("mlflow.") and "type hint" in str(error):
        remedy = "remove the type from model_input: MLflow checks and converts what predict gets by it"
    elif type(error).__module__.startswith("mlflow.") and "should either be an instance of" in str(error):
        error, remedy = TypeError("it is not a PythonModel"), "derive the class from mlflow.pyfunc.PythonModel"
    return Refusal(f"run {source.spec}", f"{type(error).__name__}: {plain(error, 300)}{place}", remedy)


def shown(value: Any) -> str:
    """Return a short repr; one that raises is the model's business, not a crash of ours."""
    try:
        return plain(repr(value), 80)
    except Exception as error:  # noqa: BLE001 - a user's __repr__ may raise anything
        return f"a {type(value).__name__} whose repr raises {type(error).__name__}"


def check_output(result: Any) -> tuple[list[float], str]:
    """Return the answer as plain Python values, or raise WrongAnswerError saying what came back instead."""
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise WrongAnswerError(f"predict returned {shown(result)} ({type(result).__name__}), not a pair")
    output, diagnosis = result
    if not isinstance(output, tuple | list) and not (hasattr(output, "tolist") and getattr(output, "ndim", 0) == 1):
        raise WrongAnswerError(f"the first of the pair is {shown(output)}, not a list of numbers")
    checked = []
    for index, value in enumerate(output):
        # Scalars of numpy or torch become Python's; True is a number to Python, but hardly what a score means.
        number = value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value
        if not isinstance(number, numbers.Real) or isinstance(number, bool):
            raise WrongAnswerError(f"number {index} of the list is {shown(value)} ({type(value).__name__})")
        try:
            checked.append(float(number))
        except OverflowError:
            checked.append(math.inf)
        if not math.isfinite(checked[-1]):
            raise WrongAnswerError(f"number {index} of the list is {shown(value)}, which JSON cannot carry")
    if not isinstance(diagnosis, str) or diagnosis not in DIAGNOSES:
        raise WrongAnswerError(f"the diagnosis is {shown(diagnosis)}")
    return checked, str(diagnosis)


def same_answer(one: tuple[list[float], str], other: tuple[list[float], str]) -> bool:
    """Tell whether two answers agree within TOLERANCE."""
    return (
        one[1] == other[1]
        and len(one[0]) == len(other[0])
        and all(math.isclose(a, b, **TOLERANCE) for a, b in zip(one[0], other[0], strict=True))
    )


def requirements_of(source: ModelSource, folder: Path, given: list[str] | None) -> list[str]:
    """Return what the served model needs: the user's list, or what MLflow sees it load and what its code imports.

    mlflow-skinny with pandas loads and runs a pyfunc model (tried in an empty environment); the full mlflow would bring
    some fifty packages more to every environment on the host.
    """
    import mlflow.models

    names: Mapping[str, list[str]] = {}
    if given is None:
        names = importlib.metadata.packages_distributions()
        infer: Callable[..., list[str]] = mlflow.models.infer_pip_requirements
        inferred = infer(str(folder / "model"), "python_function", fallback=[])
        # An import inside predict is not seen by loading the model.
        seen = {dist for module in imported_modules(source) for dist in names.get(module, [])[:1]}
        known = {canonical(line) for line in inferred}
        wanted = [*inferred, *(pinned(dist) for dist in sorted(seen) if canonical(dist) not in known)]
    else:
        wanted = list(given)
    if not any(canonical(line) in ("mlflow", "mlflow-skinny") for line in wanted):
        wanted.insert(0, f"mlflow-skinny=={mlflow.__version__}")
    if not any(canonical(line) in ("mlflow", "pandas") for line in wanted):
        wanted.append(pinned("pandas") if given is None else "pandas")
    return wanted


def canonical(requirement: str) -> str:
    """Return the project name of a requirement, as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement.strip(), maxsplit=1)[0]).lower()


def pinned(distribution: str) -> str:
    """Return name==version of an installed distribution."""
    return f"{distribution}=={importlib.metadata.version(distribution)}"


def imported_modules(source: ModelSource) -> set[str]:
    """Return the top-level modules, neither Python's nor the user's own, that the shipped code imports anywhere."""
    own = {Path(entry).stem for entry in source.origin} | {Path(entry).parts[0] for entry in source.origin}
    found: set[str] = set()
    for path in source.origin.values():
        if path.suffix != ".py" or not path.is_file():
            continue
        try:
            tree: ast.AST = ast.parse(path.read_bytes(), str(path))
        except (SyntaxError, ValueError):
            continue  # the model ran without it: nothing imports a file that is not Python
        if path == Path(__file__).resolve():  # of this file only the class is the model
            classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
            tree = ast.Module([node for node in classes if node.name == source.class_name], [])
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return {name for name in found - own if name not in sys.stdlib_module_names and name != "mlflow"}


# --------------------------------------------------------------------------------------------------- the registry


def explain(error: BaseException, address: str, seconds: str) -> tuple[str, str]:
    """Return why a request to MLflow failed and what to do, from the causes that its exception carries."""
    import requests
    import urllib3

    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    text, check = str(error), f"check the address ({address}) in --tracking-uri or MLFLOW_TRACKING_URI"
    code = getattr(error, "error_code", "")
    workspace = active_workspace()

    def caused_by(*kinds: type[BaseException]) -> bool:
        return any(isinstance(item, kinds) for item in chain)

    if workspace and (code == "FEATURE_DISABLED" or "does not support workspaces" in text):
        return "it has no workspaces", f"leave out --workspace and MLFLOW_WORKSPACE ({workspace})"
    if workspace and code == "RESOURCE_DOES_NOT_EXIST" and "orkspace" in text:
        return f"it has no workspace {workspace}", "check --workspace or MLFLOW_WORKSPACE"
    if code == "UNAUTHENTICATED" or "error code 401" in text:
        known = os.environ.get("MLFLOW_TRACKING_USERNAME") or os.environ.get("MLFLOW_TRACKING_TOKEN")
        why = "it refused your user name, password or token" if known else "it wants a user name and a password"
        return why, "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, best in .env"
    if code == "PERMISSION_DENIED" or "error code 403" in text:
        return f"it says you are not allowed to: {plain(text)}", "ask whoever runs the MLflow server"
    if "not in a valid JSON format" in text or caused_by(json.JSONDecodeError):
        return "what answers there is not MLflow (a web page came back, perhaps a login)", check
    if code == "ENDPOINT_NOT_FOUND" or "error code 404" in text:
        return "what answers there is not MLflow, or an MLflow much older than the one here (404)", check
    if caused_by(requests.exceptions.SSLError, urllib3.exceptions.SSLError):
        return "its certificate is not trusted", "set MLFLOW_TRACKING_SERVER_CERT_PATH, or " + check
    if caused_by(ConnectionRefusedError):
        return "connection refused", f"start the MLflow server, or {check}"
    if caused_by(urllib3.exceptions.NameResolutionError):
        return "no machine of that name is known", check
    if caused_by(TimeoutError, urllib3.exceptions.TimeoutError, requests.exceptions.Timeout):
        return f"no answer within {seconds} seconds", f"try again when it is less busy, or {check}"
    if caused_by(ModuleNotFoundError):
        missing = next(item for item in chain if isinstance(item, ModuleNotFoundError))
        return f"its artifact store needs {missing.name}", f"run pip install {missing.name}"
    return f"{type(chain[-1]).__name__}: {plain(chain[-1])}", f"see what the server's log says, or {check}"


@contextmanager
def registry(what: str, address: str, seconds: int, retries: int = 0) -> Iterator[None]:
    """Talk to MLflow within bounds; whatever fails becomes one sentence."""
    try:
        with patience(seconds, retries):
            yield
    except Exception as error:  # MLflow raises its own, requests', botocore's and plain Python's exceptions
        if isinstance(error, Refusal):
            raise
        limit = os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT") or str(seconds)
        why, remedy = explain(error, address, limit)
        raise Refusal(what, why, remedy) from error


def existing_versions(client: Any, name: str) -> list[tuple[str, str, str, str, str]] | None:
    """Return (version, stage, aliases, created, by) newest first, or None when the name is free."""
    from mlflow.exceptions import MlflowException

    try:
        registered = client.get_registered_model(name)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST" and "Workspace" not in str(error):
            return None
        raise
    aliases: dict[str, list[str]] = {}
    for alias, version in dict(registered.aliases).items():
        aliases.setdefault(str(version), []).append(alias)
    found = sorted(client.search_model_versions(f"name='{name}'"), key=lambda each: -int(each.version))
    return [
        (
            str(each.version),
            plain(each.current_stage or "None", 20),
            plain(", ".join(sorted(aliases.get(str(each.version), []))) or "-", 40),
            time.strftime("%Y-%m-%d %H:%M", time.localtime((each.creation_timestamp or 0) / 1000)),
            plain(each.tags.get("registered_by") or each.user_id or "-", 30),
        )
        for each in found
    ]


def show_versions(name: str, rows: list[tuple[str, str, str, str, str]], limit: int = 10) -> None:
    """Print the versions of a name as a table."""
    say(f"{name} exists already, with {len(rows)} version{'' if len(rows) == 1 else 's'}{':' if rows else ''}")
    table = [("version", "stage", "aliases", "created", "by"), *rows[:limit]]
    widths = [max(len(row[column]) for row in table) for column in range(5)]
    for row in table if rows else []:
        say("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    if len(rows) > limit:
        say(f"  … and {len(rows) - limit} older")


def log_and_register(
    client: Any, name: str, known: bool, experiment: str, address: str, saving: dict[str, Any], done: Done
) -> None:
    """Log first, register what is completely there, then wait until MLflow says READY.

    `log_model(registered_model_name=…)` would do both at once and leave no telling what an interruption left behind.
    """
    import mlflow.pyfunc
    import requests
    from mlflow.exceptions import MlflowException

    with registry(f"log the model at {address}", address, UPLOAD_SECONDS, retries=2):
        done.logging = True
        mlflow.set_experiment(experiment)
        with mlflow.start_run(run_name=name) as run:
            done.run_id = run.info.run_id
            mlflow.set_tag("pipeline.model", name)
            logged = mlflow.pyfunc.log_model(name="model", **saving)
        done.model_uri = logged.model_uri
    say(f"[4/5] logged as {logged.model_uri} in experiment {plain(experiment, 60)}, run {done.run_id}")
    with registry(f"register {name} at {address}", address, METADATA_SECONDS):
        if not known:
            try:
                client.create_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                remedy = "look at it, then run this again"
                raise Refusal(f"register {name}", "somebody else registered that name just now", remedy) from error
            done.named = True
        done.registering = True
        try:
            version = client.create_model_version(
                name,
                logged.model_uri,
                run_id=done.run_id,
                model_id=logged.model_id,
                tags={"registered_by": account()},  # MLflow without authentication records nobody
                await_creation_for=0,
            )
        except MlflowException as error:
            # An answer, even a refusal, says that there is no version; a broken connection leaves it open.
            done.registering = isinstance(error.__cause__ or error.__context__, requests.exceptions.RequestException)
            raise
        done.version = str(version.version)
        deadline = time.monotonic() + READY_SECONDS
        while version.status != "READY":
            if version.status == "FAILED_REGISTRATION" or time.monotonic() > deadline:
                why = f"version {done.version} is {version.status}: {plain(version.status_message or 'no reason')}"
                raise Refusal(f"finish {name}", why, "run this again; that version cannot be promoted")
            time.sleep(0.5)
            version = client.get_model_version(name, done.version)
        done.ready = True


def page_of(address: str, name: str, version: str = "") -> str:
    """Return the address of a model's or a version's page in MLflow's UI, without credentials."""
    place = f"/models/{name}" + (f"/versions/{version}" if version else "")
    workspace = active_workspace()
    return redact(f"{address}/#{place}" + (f"?workspace={workspace}" if workspace else ""))


def next_steps(name: str, version: str, page: str) -> str:
    """Return what a person does now."""
    workspace = active_workspace()
    where = f"\n     Only hosts that follow the workspace {workspace} see it (registry.workspace)." if workspace else ""
    return f"""
{name} version {version} is registered and READY.

  {page}

What to do next:
  1. Open that page. Switch "New model registry UI" off (top right, then Disable): with it on, the stage is read-only.
  2. Click the stage beside "Stage", choose "Transition to -> Production", tick the box that moves the version that is
     in Production now to Archived, OK.
     Where the host follows an alias instead: leave the switch on and give that alias to version {version}.
  3. Reload that page after a while: the tag deployed.<host> says what the host does with it, or why it does not, and
     when that was last true (within the hour; an older one is of a host that is off, gone or renamed).{where}
"""


# ------------------------------------------------------------------------------------------------------------ main


def pipeline(options: argparse.Namespace, done: Done, noted: Callable[[str, str], None]) -> None:
    """Do everything in order: local files, name, registry, the model as served, log, register."""
    if os.geteuid() == 0 and not options.allow_root:
        why, remedy = "it runs your model's code and needs no privilege", "use your own account, or --allow-root"
        raise Refusal("run as root", why, remedy, 2)
    if options.name is not None:
        choose_name(options.name)
    leave_own_folders()
    if importlib.util.find_spec("mlflow") is None or importlib.util.find_spec("dotenv") is None:
        raise Refusal("start", f"mlflow is not installed for {sys.executable}", "run pip install mlflow")
    source = find_model(options.model, options.code, options.artifact)
    example = read_example(options.example)
    given = read_requirements(options.requirements) if options.requirements else None
    address = apply_settings(options.tracking_uri, read_env_file(options.env_file), options.workspace)
    name = choose_name(options.name)
    noted(name, page_of(address, name))

    import mlflow

    if not options.verbose:
        quiet_mlflow()
    if int(mlflow.__version__.partition(".")[0]) < 3:
        raise Refusal("start", f"mlflow {mlflow.__version__} is too old", "run pip install 'mlflow>=3'")
    mlflow.set_tracking_uri(address)
    mlflow.set_registry_uri(address)
    client = mlflow.MlflowClient(tracking_uri=address, registry_uri=address)

    with registry(f"reach {address}", address, METADATA_SECONDS):
        rows = existing_versions(client, name)
    say(f"[1/5] {address} answers; {name} is {'a new name' if rows is None else 'there already'}")
    if rows is not None:
        show_versions(name, rows)
        if not options.dry_run:
            confirm_update(name, options.update)

    with tempfile.TemporaryDirectory(prefix="pipeline-") as temporary:
        folder = Path(temporary).resolve()
        code_paths = stage(source, folder)
        example.write(folder / "replay", None)
        artifacts = {"replay": str(folder / "replay")} | {key: str(path) for key, path in source.artifacts.items()}
        saving = {"python_model": str(folder / LOADER), "code_paths": code_paths, "artifacts": artifacts}
        say(f"[2/5] trying {source.spec}: saved, loaded back and asked, as on the host")
        with elsewhere(folder / "empty"):
            answer = run_as_served(source, example, folder, saving)
            saving["pip_requirements"] = requirements_of(source, folder, given)
        example.write(folder / "replay", answer)
        files = [path for path in (folder / "model").rglob("*") if path.is_file()]
        say(f"      it answers {plain(answer, 100)}")
        say(f"      it needs {', '.join(saving['pip_requirements'])}")
        if options.dry_run:
            condition = "" if rows is None else " with --update"
            say(f"Dry run: {name} could be registered{condition}. Nothing was logged, nothing was registered.")
            return
        say(f"[3/5] sending {len(files) + 1} files, {human(sum(path.stat().st_size for path in files))}")
        experiment = options.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or name
        log_and_register(client, name, rows is not None, experiment, address, saving, done)
    page = page_of(address, name, done.version)
    say(f"[5/5] registered {name} version {done.version}")
    say(next_steps(name, done.version, page))


INTERRUPTS: list[int] = []
"""Signals that came; Python drops the exception when one comes while it tidies up an object."""


def interrupted(number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - the signature is Python's
    """Treat a termination like Ctrl-C: both say what was registered."""
    INTERRUPTS.append(number)
    raise KeyboardInterrupt


def main(argv: Sequence[str]) -> int:
    """Run the pipeline; turn refusals and interruptions into sentences and exit codes."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, interrupted)
    done, place = Done(), {"name": "the model", "page": ""}
    try:
        pipeline(arguments(argv), done, lambda name, page: place.update(name=name, page=page))
    except Refusal as refusal:
        if INTERRUPTS:
            sys.stderr.write(redact(f"\ninterrupted: {done.summary(place['name'], place['page'])}") + "\n")
            return 130
        sys.stderr.write(redact(str(refusal)) + "\n")
        if done.logging:
            sys.stderr.write(redact(done.summary(place["name"], place["page"])) + "\n")
        return refusal.code
    except OSError as error:
        what = f" {error.filename}" if error.filename else ""
        sys.stderr.write(redact(f"cannot read or write{what}: {plain(error.strerror or error)}; check it\n"))
        sys.stderr.write(redact(done.summary(place["name"], place["page"])) + "\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write(redact(f"\ninterrupted: {done.summary(place['name'], place['page'])}") + "\n")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
