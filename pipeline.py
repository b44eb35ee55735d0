#!/usr/bin/env python3
"""Check a model, log it in MLflow and register it as a new version; a person promotes it later.

    python3 pipeline.py                                      asks for the name, takes ModelTemplate
    python3 pipeline.py --name cough --model cough.py:Cough  takes a class of another file
    python3 pipeline.py --announce-only --name cough         tells the SPIRA API of it once more

It needs an ordinary account and `pip install mlflow`, nothing else. It never touches the host that
serves the model. Exit codes: 0 registered (or checked, with --dry-run), 1 refused or failed, 2 used
wrongly, 3 registered but not announced, 130 interrupted.

The file reads from top to bottom in the order of its steps:

    the model   ModelTemplate, the class to fill in; the request that the model is tried with
    the run     main and run_pipeline: all steps in order, and what a failure prints
    check       the account, the name, the model's class, code and artifacts; nothing of it runs
    connect     the settings, MLflow's client, what the registry has of the name
    hosts       what the hosts have said that they can do, and how this model compares
    try         saves a copy of the model, loads it back and asks it, as the host does
    log         sends the model to MLflow
    register    makes a version of it and waits until MLflow says READY
    announce    tells the SPIRA API of the model, where the settings name that API
    words       what is printed, without passwords and control characters
"""

from __future__ import annotations

import argparse
import ast
import calendar
import getpass
import importlib.metadata
import importlib.util
import json
import logging
import math
import numbers
import os
import re
import shlex
import shutil
import signal
import struct
import sys
import tempfile
import threading
import time
import traceback
import warnings
import wave
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, NoReturn, TextIO, TypeVar

if TYPE_CHECKING or __name__ != "__main__":
    from mlflow.pyfunc.model import PythonModel
else:
    # As a script, this file only reads the class below as text; the host imports it as the module
    # `pipeline`. So `--help` and a wrong flag answer at once (importing MLflow takes seconds), and
    # a missing MLflow is a sentence.
    PythonModel = object


# ---------------------------------------------------------------------------------------- the model


class ModelTemplate(PythonModel):
    """The model to fill in. Import what it needs inside the methods or at the top of this file."""

    def load_context(self, context: Any) -> None:
        """Prepare the model: called once, before the first prediction.

        Read weights here rather than in predict: every `--artifact KEY=PATH` is at
        `context.artifacts["KEY"]`, a path on the machine that serves the model. The same context is
        handed to predict.

        :param context: MLflow's PythonModelContext.
        """

    # No type on model_input: from one, MLflow would derive a schema and check or convert what the
    # server hands over.
    def predict(self, context, model_input) -> tuple[list[float], str]:  # type: ignore  # see above
        """Answer one inference.

        :param context: MLflow's PythonModelContext, the one load_context got.
        :param model_input: two dictionaries: first the metadata of the inference (EXAMPLE_METADATA
            below shows the keys; `age` is an integer or None, the others are strings and some may
            be None), then the recordings, by part: `{"aceite": {"content": bytearray, "filename":
            "aceite.wav"}, "sustentada": …, "parlenda": …, "frase": …}`. A part may be absent.
        :returns: a list of numbers, and the diagnosis: "positive", "negative" or "inconclusive".
        """
        raise NotImplementedError


DIAGNOSES = ("positive", "negative", "inconclusive")
ModelAnswer = tuple[list[float], str]
"""What predict returns: the numbers and the diagnosis."""

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


class VoiceShape(NamedTuple):
    """A generated recording: a voice of this pitch speaks, pauses, and does both again."""

    pitch_hz: float
    spoken_seconds: float
    silent_seconds: float
    times: int


EXAMPLE_VOICES = {
    "aceite": VoiceShape(180.0, 0.35, 0.15, 3),
    "sustentada": VoiceShape(220.0, 1.5, 0.0, 1),
    "parlenda": VoiceShape(200.0, 0.2, 0.1, 5),
    "frase": VoiceShape(190.0, 0.5, 0.25, 2),
}


class ExampleRecording(NamedTuple):
    """One part of a request: the name of the file that a client would send, and its bytes."""

    filename: str
    content: bytes


@dataclass(frozen=True)
class ExampleRequest:
    """A request as the server gets it: the metadata, and the recordings by part."""

    metadata: dict[str, Any]
    parts: dict[str, ExampleRecording]
    sources: dict[str, Path] = field(default_factory=dict)
    """The user's own files, absolute, by part; generated recordings have none."""

    def model_input(self) -> list[Any]:
        """Return a new copy of what predict gets: a model may change what it is given."""
        recordings = {
            part: {"content": bytearray(recording.content), "filename": recording.filename}
            for part, recording in self.parts.items()
        }
        return [json.loads(json.dumps(self.metadata)), recordings]

    def write(self, folder: Path, answer: ModelAnswer | None) -> None:
        """Write what the host replays before a release serves: request, recordings, answer."""
        folder.mkdir(exist_ok=True)
        request: dict[str, Any] = {"schema": 1, "metadata": self.metadata, "parts": {}}
        for part, recording in self.parts.items():
            # The file is named after the part, which was checked; a client's file name was not.
            stored = part + usual_suffix(recording.filename)
            (folder / stored).write_bytes(recording.content)
            request["parts"][part] = {"file": stored, "filename": recording.filename}
        write_json(folder / "request.json", request)
        if answer is not None:
            output, diagnosis = answer
            write_json(folder / "response.json", {"output": output, "diagnosis": diagnosis})


def usual_suffix(filename: str) -> str:
    """Return the suffix of a file name, with its dot; `.wav` when it has none or an odd one."""
    suffix = Path(filename).suffix
    return suffix if re.fullmatch(r"\.\w{1,8}", suffix) else ".wav"


# ------------------------------------------------------------------------------------------ the run


REGISTERED, FAILED, WRONG_USAGE, NOT_ANNOUNCED, INTERRUPTED = 0, 1, 2, 3, 130
NAME = re.compile(r"[a-zA-Z0-9_-]+")
NAME_MAX = 64
DEFAULT_REGISTRY = "http://127.0.0.1:5000"

SIGNALS_SEEN: list[int] = []
"""Signals that came; Python drops the exception when one comes while it tidies up an object."""


class PipelineError(Exception):
    """A sentence for the person at the keyboard: what cannot be done, why, and what to do.

    `what` continues "cannot"; `remedy` is an imperative, like "choose another".
    """

    exit_code = FAILED

    def __init__(self, what: str, why: str, remedy: str) -> None:
        """Take the three parts of the sentence."""
        super().__init__(f"cannot {what}: {why}; {remedy}")


class WrongUsageError(PipelineError):
    """The command line is wrong, or a setting or file that it names: the exit code is 2."""

    exit_code = WRONG_USAGE


class NotAnnouncedError(PipelineError):
    """The version is registered, and the SPIRA API does not know of the model."""

    exit_code = NOT_ANNOUNCED


@dataclass
class RegistrationProgress:
    """How far the run got, so that an interruption can say what the registry has and what not.

    The fields are set in this order, each when it happened. Only `logging` and `registering` are
    set before their request is sent: from then on the server may have done it although no answer
    came.
    """

    name: str = "the model"
    page: str = ""
    logging: bool = False
    run_id: str = ""
    model_uri: str = ""
    name_created: bool = False
    registering: bool = False
    version: str = ""
    ready: bool = False

    def summary(self) -> str:
        """Return one sentence about what is registered and what is not."""
        if self.ready:
            return f"version {self.version} of {self.name} is registered and READY: {self.page}"
        if self.version:
            stuck = f"version {self.version} of {self.name} was created but is not READY yet"
            return f"{stuck}: look at {self.page}"
        if self.registering:
            return f"a version of {self.name} may or may not exist: look at {self.page}"
        if self.model_uri:
            what = f"nothing was registered as {self.name}"
            if self.name_created:
                what = f"{self.name} was registered without a version"
            return f"the model is logged (run {self.run_id}) but {what}"
        if self.logging:
            run = self.run_id or "just begun"
            return f"nothing was registered as {self.name}; run {run} holds an incomplete model"
        return "nothing was logged, nothing was registered"


def main(argv: Sequence[str]) -> int:
    """Run the pipeline and return the exit code; errors and interruptions become sentences."""
    # SIGTERM too: `timeout` and schedulers send it, and their users want to know the same.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, interrupt)
    progress = RegistrationProgress()
    try:
        run_pipeline(arguments(argv), progress)
    except PipelineError as error:
        # Ctrl-C inside a library may come out as a failure of that library.
        if SIGNALS_SEEN:
            return report_interruption(progress)
        print_error(str(error))
        if progress.logging:
            print_error(progress.summary())
        return error.exit_code
    # A full disk or an unreadable file can come from any step, so it is told here for all of them.
    except OSError as error:
        file = f" {error.filename}" if error.filename else ""
        why = printable_line(error.strerror or error)
        remedy = "check the permissions and the free space"
        print_error(str(PipelineError(f"read or write{file}", why, remedy)))
        print_error(progress.summary())
        return FAILED
    except KeyboardInterrupt:
        return report_interruption(progress)
    return REGISTERED


def interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    """Treat a termination like Ctrl-C: both say what was registered."""
    SIGNALS_SEEN.append(number)
    raise KeyboardInterrupt


def report_interruption(progress: RegistrationProgress) -> int:
    """Print what was registered until now; return the exit code of an interruption."""
    print_error(f"\ninterrupted: {progress.summary()}")
    return INTERRUPTED


def arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Read the command line; argparse itself exits with 2 on wrong usage."""
    parser = argparse.ArgumentParser(
        prog="pipeline.py",
        description="Check a model, log it in MLflow and register it as a new version. You promote it afterwards.",
        epilog="The script takes each setting from a flag, else from the environment, else from a file"
        " .env in the current directory or beside the script: MLFLOW_TRACKING_URI (or MLFLOW_CONN_URL),"
        " MLFLOW_WORKSPACE, MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD, MLFLOW_TRACKING_TOKEN,"
        " MLFLOW_S3_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, …; for the SPIRA API AUTH_ENDPOINT,"
        " MODEL_CREATION_ENDPOINT, ACCESS_USER, ACCESS_KEY.",
    )
    add = parser.add_argument
    allowed = f"letters a-z A-Z, digits, - and _, at most {NAME_MAX} characters"
    add("--name", help=f"register the model as NAME: {allowed} (default: the script asks)")
    add("--update", action="store_true", help="add a version to a name that exists already")
    add("--model", metavar="FILE:CLASS", help="serve this class (default: ModelTemplate in here)")
    add(
        "--example",
        type=Path,
        metavar="FILE",
        help="check the model with the request in this JSON file (default: a built-in request)",
    )
    add(
        "--requirements",
        type=Path,
        metavar="FILE",
        help="install the packages that this file lists (default: MLflow finds them)",
    )
    add(
        "--code",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="ship this file or folder with the model; repeat the flag for more",
    )
    add(
        "--artifact",
        action="append",
        default=[],
        metavar="KEY=PATH",
        help="ship weights or other data with the model; repeat the flag for more",
    )
    add(
        "--experiment",
        metavar="NAME",
        help="put the run into this MLflow experiment (default: the model's name)",
    )
    add("--tracking-uri", metavar="URL", help=f"use this server (default: {DEFAULT_REGISTRY})")
    add(
        "--workspace",
        metavar="NAME",
        help="use this workspace of a server that has several (default: the server's own)",
    )
    add("--env-file", type=Path, metavar="FILE", help="read settings from this file, not from .env")
    add("--dry-run", action="store_true", help="check everything, write nothing to the server")
    add(
        "--announce-only",
        action="store_true",
        help="only tell the SPIRA API of the model, whatever MLflow has of it",
    )
    add("--allow-root", action="store_true", help="run as root although nothing here needs it")
    add("--verbose", action="store_true", help="show MLflow's own log messages")
    return parser.parse_args(argv)


def run_pipeline(options: argparse.Namespace, progress: RegistrationProgress) -> None:
    """Do all steps in order; raise PipelineError when one fails. `progress` says how far it got."""
    if options.announce_only:
        announce_only(options)
        return
    inputs = check_inputs(options)
    env_file = read_env_file(options.env_file)
    address = apply_settings(options.tracking_uri, env_file, options.workspace)
    api = spira_api()
    name = ask_name() if options.name is None else options.name
    progress.name, progress.page = name, page_of(address, name)

    # Importing MLflow takes seconds, and an address without a server some more.
    print_line(f"[1/5] asking {address} about {name}")
    client = connect_client(address, options.verbose)
    versions = look_up_name(client, name, address)
    is_new_name = versions is None
    # Asked before the model is tried, which takes long: the user is still at the keyboard.
    if not is_new_name and not options.dry_run:
        confirm_update(name, options.update)

    with tempfile.TemporaryDirectory(prefix="pipeline-") as temporary:
        # Resolved, because the files of a traceback are compared with it as text.
        folder = Path(temporary).resolve()
        saving = try_as_served(inputs, folder)
        hosts = compare_with_hosts(client, address, name, size_of(folder / "model"))
        if options.dry_run:
            condition = "" if is_new_name else " with --update"
            nothing = "Nothing was logged, nothing was registered."
            print_line(f"Dry run: {name} could be registered{condition}. {nothing}")
            return
        print_line(f"[3/5] sending {describe_upload(folder / 'model')}")
        experiment = options.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or name
        with progress_lines(large_files(folder / "model"), own={folder, *inputs.source.artifacts.values()}):
            logged = log_model(experiment, address, saving, progress)
        register_version(client, logged, is_new_name, address, progress)
    print_line(f"[5/5] registered {name} version {progress.version}")
    try:
        if api is not None:
            announce(api, name)
    finally:
        # What is registered can be promoted, whatever the API said.
        page = page_of(address, name, progress.version)
        print_line(next_steps(name, progress.version, page, hosts, inputs.example))


def describe_upload(saved: Path) -> str:
    """Return how many files, and of what size, a saved model has."""
    files = [path for path in saved.rglob("*") if path.is_file()]
    # The answer was written after the model was saved: the logged model has that file more.
    return f"{len(files) + 1} files, {human_size(size_of(saved))}"


def size_of(saved: Path) -> int:
    """Return the bytes of all files of a saved model."""
    return sum(path.stat().st_size for path in saved.rglob("*") if path.is_file())


# -------------------------------------------------------------------------------------------- check


@dataclass(frozen=True)
class ModelSource:
    """What the user wants served: the class, the paths to ship, the artifacts by key."""

    file: Path
    class_name: str
    code: list[Path]
    artifacts: dict[str, Path]

    @property
    def spec(self) -> str:
        """Return FILE:CLASS as messages show it."""
        return f"{self.file.name}:{self.class_name}"


@dataclass(frozen=True)
class PipelineInputs:
    """What the user gave, checked; `requirements` is None when MLflow shall find them."""

    source: ModelSource
    example: ExampleRequest
    requirements: list[str] | None


EXAMPLE_KEY = "replay"
"""The artifact that holds the example: the host looks for it under this key."""


def check_inputs(options: argparse.Namespace) -> PipelineInputs:
    """Check all that needs neither MLflow nor a server: a mistake is told within a second."""
    check_account(options.allow_root)
    if options.name is not None:
        check_name(options.name)
    # Before find_model, which looks for modules of the same names: the user's own are no others.
    leave_own_folders()
    check_packages()
    source = find_model(options.model, options.code, options.artifact)
    example = read_example(options.example)
    requirements = read_requirements(options.requirements) if options.requirements else None
    return PipelineInputs(source, example, requirements)


def check_account(allow_root: bool) -> None:
    """Refuse root, unless it is allowed."""
    if os.geteuid() == 0 and not allow_root:
        why = "it runs your model's code and needs no privilege"
        raise WrongUsageError("run as root", why, "use your own account, or add --allow-root")


def name_problem(name: str) -> str | None:
    """Return why a name is not allowed, or None. The host has the same rule."""
    if not NAME.fullmatch(name):
        return "only letters a-z A-Z, digits, - and _ are allowed"
    if name.startswith("-"):
        return "it starts with -"
    if len(name) > NAME_MAX:
        return f"it has {len(name)} characters, more than {NAME_MAX}"
    return None


def check_name(name: str) -> None:
    """Refuse a name that no host could deploy."""
    problem = name_problem(name)
    if problem is not None:
        what = f"use the name {printable_line(repr(name), 80)}"
        raise WrongUsageError(what, problem, "choose another, like my-model_2")


def leave_own_folders() -> None:
    """Take the folders of this script and of the user out of Python's path.

    The machine that serves the model does not have them: the user must ship with --code what the
    model imports from there, and the check must notice what is missing.
    """
    own = {str(Path(__file__).resolve().parent), str(Path.cwd()), ""}
    for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep):
        if entry:
            own.add(str(Path(entry).resolve()))
    sys.path[:] = [entry for entry in sys.path if not {entry, str(Path(entry).resolve())} & own]


def check_packages() -> None:
    """Refuse a Python without MLflow; dotenv comes with it."""
    needed = ("mlflow", "dotenv")
    if any(importlib.util.find_spec(package) is None for package in needed):
        why = f"mlflow is not installed for {sys.executable}"
        # Debian refuses pip outside of one, and may have no pip.
        virtual = "" if sys.prefix != sys.base_prefix else "python3 -m venv v && . v/bin/activate && "
        raise PipelineError("start", why, f"run {virtual}pip install mlflow")


def find_model(given: str | None, code: list[Path], artifacts: list[str]) -> ModelSource:
    """Read --model, --code and --artifact; look into the model's file without running it."""
    file, class_name = parse_model_option(given)
    check_class(file, class_name)
    return ModelSource(file, class_name, shipped_code(file, code), parse_artifacts(artifacts))


def parse_model_option(given: str | None) -> tuple[Path, str]:
    """Return the file, resolved, and the class that --model names; without it, ModelTemplate."""
    own_template = f"{Path(__file__).resolve()}:ModelTemplate"
    # From the right: a path may have a colon, a class has none.
    file_name, _, class_name = (given or own_template).rpartition(":")
    what = f"use --model {printable_line(given)}"
    if not file_name or not class_name.isidentifier():
        raise WrongUsageError(what, "it is not FILE:CLASS", "write it like cough.py:Cough")
    file = Path(file_name)
    if not file.exists():
        raise WrongUsageError(what, f"there is no file {file}", "check the path")
    is_python_file = file.is_file() and file.suffix == ".py"
    if not is_python_file:
        raise WrongUsageError(what, f"{file} is not a Python file", "give a file that ends with .py")
    return file.resolve(), class_name


def check_class(file: Path, class_name: str) -> None:
    """Refuse a file that is not Python, a class that it has not, a template as it was."""
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        reason = printable_line(getattr(error, "msg", error))
        why = f"{type(error).__name__}: {reason} (line {line})"
        # The model is wrong, not the command: so this is not a WrongUsageError.
        raise PipelineError(f"read {file.name}", why, "correct it") from error
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    found = classes.get(class_name)
    what = f"use {file.name}:{class_name}"
    if found is None and not mentions_class(tree, class_name):
        why = f"{file.name} has no class {class_name}, only {', '.join(classes)}"
        if not classes:
            why = f"{file.name} has no class"
        raise WrongUsageError(what, why, "check the CLASS in FILE:CLASS")
    if found is not None and has_template_predict(found):
        remedy = f"fill in {class_name} in {file.name}, or give --model FILE:CLASS"
        raise PipelineError(what, "its predict is not written yet", remedy)


def mentions_class(tree: ast.Module, class_name: str) -> bool:
    """Tell whether a file may import or assign a class, or define it under an `if`."""
    return bool(re.search(rf"\b{class_name}\b|import \*", ast.unparse(tree)))


def has_template_predict(model_class: ast.ClassDef) -> bool:
    """Tell whether the predict of a class is still the template's."""
    methods = [node for node in model_class.body if isinstance(node, ast.FunctionDef)]
    return any(method.name == "predict" and is_unwritten(method.body) for method in methods)


def is_unwritten(body: list[ast.stmt]) -> bool:
    """Tell whether a method has only a docstring, `pass`, `...`, `raise NotImplementedError`."""
    statements = [node for node in body if not is_constant(node)]
    return all(ast.unparse(node) in ("pass", "raise NotImplementedError") for node in statements)


def is_constant(node: ast.stmt) -> bool:
    """Tell whether a statement is a constant, like a docstring or `...`."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def shipped_code(model_file: Path, code: list[Path]) -> list[Path]:
    """Return the model's file and the paths of --code, resolved; refuse what cannot be shipped."""
    paths = [model_file, *(path.resolve() for path in code)]
    for path in paths:
        if not path.exists():
            why = "there is no such file or directory"
            raise WrongUsageError(f"ship {path}", why, "check --code")
        check_importable(path)
        # All copies go into one folder.
        if any(path.name == other.name and path != other for other in paths):
            why = f"two things are named {path.name}"
            raise WrongUsageError(f"ship {path}", why, "rename one of them")
    return list(dict.fromkeys(paths))


def check_importable(path: Path) -> None:
    """Refuse a file or folder for which the host would import something else of that name."""
    is_module = path.is_file() and path.suffix == ".py"
    if not is_module and not path.is_dir():
        return  # a data file: nothing imports it
    module, kind = (path.stem, "file") if is_module else (path.name, "folder")
    problem = module_problem(module, is_module)
    if problem is not None:
        raise WrongUsageError(f"ship {path.name}", problem, f"rename the {kind}")


def module_problem(module: str, is_file: bool) -> str | None:
    """Return why a file or folder cannot be imported under its name, or None."""
    if is_file and module in sys.stdlib_module_names:
        return f"Python has a module {module} of its own"
    # To look for a module with a dot would import its parent, which is not the user's file.
    if "." in module:
        return "the name of a module cannot have a dot" if is_file else None
    installed = importlib.util.find_spec(module)
    if installed is None or not installed.origin:
        return None
    return f"an installed package is named {module} too ({installed.origin})"


def parse_artifacts(items: list[str]) -> dict[str, Path]:
    """Return the path, resolved, of each --artifact KEY=PATH, by its key."""
    artifacts: dict[str, Path] = {}
    for item in items:
        key, _, path_name = item.partition("=")
        problem = artifact_problem(item, artifacts)
        if problem is not None:
            why, remedy = problem
            raise WrongUsageError(f"use --artifact {printable_line(item)}", why, remedy)
        artifacts[key] = Path(path_name).resolve()
    return artifacts


def artifact_problem(item: str, earlier: Mapping[str, Path]) -> tuple[str, str] | None:
    """Return why a KEY=PATH cannot be shipped beside the earlier ones, and what to do; or None."""
    key, separator, path_name = item.partition("=")
    path = Path(path_name)
    is_key_and_path = separator and re.fullmatch(r"\w[\w.-]*", key)
    if key == EXAMPLE_KEY:
        return f"the example has the key {EXAMPLE_KEY}", "choose another key"
    if not is_key_and_path:
        return "it is not KEY=PATH", "write it like weights=weights.npz"
    # MLflow stores an artifact under the name of its file, so that name must be free, too.
    if path.name == EXAMPLE_KEY:
        return f"the example is stored as {EXAMPLE_KEY}", "rename the file"
    if not path_name or not path.exists():
        return f"{path} does not exist", "check the path"
    if key in earlier:
        return f"you gave {key} twice", "choose another key"
    return None


def read_example(path: Path | None) -> ExampleRequest:
    """Return the example of `--example FILE`, or the built-in one with generated recordings."""
    if path is None:
        contents = {part: generated_wav(voice) for part, voice in EXAMPLE_VOICES.items()}
        parts = {part: ExampleRecording(f"{part}.wav", wav) for part, wav in contents.items()}
        return ExampleRequest(EXAMPLE_METADATA, parts)
    try:
        return parse_example(json.loads(path.read_text(encoding="utf-8")), path.parent)
    except (OSError, ValueError) as error:
        why, remedy = printable_line(error), "see docs/first-model.md for the format"
        raise WrongUsageError(f"use the example {path}", why, remedy) from error


def parse_example(request: Any, folder: Path) -> ExampleRequest:
    """Return a request that was read from JSON; it names its recordings relative to `folder`.

    Raise ValueError or OSError that says why it cannot be used.
    """
    if not isinstance(request, dict) or request.get("schema") != 1:
        raise ValueError('it is not a JSON object with "schema": 1')
    metadata, listed = request.get("metadata"), request.get("parts")
    if not isinstance(metadata, dict) or not isinstance(listed, dict):
        raise ValueError('"metadata" and "parts" must be objects')
    parts = {part: read_recording(part, entry, folder) for part, entry in listed.items()}
    # Python's json reads NaN although JSON has none; the example is written as strict JSON.
    try:
        json.dumps(metadata, allow_nan=False)
    except ValueError as error:
        raise ValueError("its metadata has NaN or Infinity, which is not JSON") from error
    sources = {part: (folder / entry["file"]).resolve() for part, entry in listed.items()}
    return ExampleRequest(metadata, parts, sources)


def read_recording(part: str, entry: Any, folder: Path) -> ExampleRecording:
    """Return a part's recording; raise ValueError or OSError that says why it cannot be used."""
    names_a_file = isinstance(entry, dict) and isinstance(entry.get("file"), str)
    if not NAME.fullmatch(part) or not names_a_file:
        shown = printable_line(repr(part), 60)
        raise ValueError(f'part {shown} must be {{"file": …, "filename": …}} and have a plain name')
    filename = entry.get("filename", Path(entry["file"]).name)
    if not isinstance(filename, str) or "/" in filename:
        raise ValueError(f"the filename of part {part} is not a file name")
    return ExampleRecording(filename, (folder / entry["file"]).read_bytes())


def generated_wav(voice: VoiceShape) -> bytes:
    """Return a short recording, 16-bit mono at 16 kHz: a buzzing voice with pauses.

    The bytes are the same every time: the host replays them and expects the same answer.
    """
    rate = 16_000
    spoken = [buzz(voice.pitch_hz, n, rate) for n in range(round(voice.spoken_seconds * rate))]
    silent = [0] * round(voice.silent_seconds * rate)
    samples = (spoken + silent) * voice.times
    with tempfile.TemporaryFile() as file:
        with wave.open(file, "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(rate)
            out.writeframes(struct.pack(f"<{len(samples)}h", *samples))
        file.seek(0)
        return file.read()


def buzz(pitch: float, n: int, rate: int) -> int:
    """Return 16-bit sample number `n` of a tone and its next two harmonics."""
    harmonics = (1, 2, 3)
    tones = [math.sin(2 * math.pi * pitch * times * n / rate) / times for times in harmonics]
    return round(6000 * sum(tones))


def read_requirements(path: Path) -> list[str]:
    """Return the plain requirement lines of a file.

    Options, addresses and local paths are refused: they mean nothing on another machine.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = printable_line(error)
        raise WrongUsageError(f"read {path}", why, "check --requirements") from error
    requirements = []
    for number, line in enumerate(lines, 1):
        # As pip does: a # within a word is no comment.
        text = re.sub(r"(^|\s)#.*", "", line).strip()
        if not text:
            continue
        if not is_plain_requirement(text):
            why = f"line {number} is {printable_line(repr(redact(text)), 80)}"
            remedy = "write one NAME or NAME==VERSION a line: indexes and addresses are the host's settings"
            raise WrongUsageError(f"use {path.name}", why, remedy)
        requirements.append(text)
    warn_of_unpinned(path, requirements)
    return requirements


def warn_of_unpinned(path: Path, requirements: Iterable[str]) -> None:
    """Say which packages may be other ones on the host than here."""
    from packaging.requirements import Requirement

    unpinned = [line for line in requirements if not Requirement(line).specifier]
    if unpinned:
        print_warning(
            f"{path.name} names no version of {printable_line(', '.join(unpinned), 100)}: the host installs the"
            " newest that it finds when it builds the environment. Write NAME==VERSION for what matters."
        )


def is_plain_requirement(text: str) -> bool:
    """Tell whether a line is a name with or without versions, and no address."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return Requirement(text).url is None
    except InvalidRequirement:
        return False


# ------------------------------------------------------------------------------------------ connect


METADATA_SECONDS, UPLOAD_SECONDS, READY_SECONDS = 10, 300, 60


def read_env_file(given: Path | None) -> dict[str, str]:
    """Return the settings of --env-file, or of .env in the current folder or beside this file."""
    from dotenv import dotenv_values

    path = env_file_path(given)
    if path is None:
        return {}
    try:
        # interpolate=False: a password may contain ${…}
        settings = dotenv_values(path, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        remedy = "make it a readable text file of KEY=VALUE lines"
        raise WrongUsageError(f"read {path}", printable_line(error), remedy) from error
    # An empty value counts as not set, as it does in the environment.
    return {key: value for key, value in settings.items() if value}


def env_file_path(given: Path | None) -> Path | None:
    """Return the file to read settings from, or None; refuse an --env-file that is not there."""
    if given is not None:
        if not given.is_file():
            raise WrongUsageError(f"read {given}", "there is no such file", "check --env-file")
        return given
    candidates = (Path(".env"), Path(__file__).resolve().parent / ".env")
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def apply_settings(
    flag: str | None,
    env_file: Mapping[str, str],
    workspace: str | None = None,
) -> str:
    """Put flags, environment and .env, in that order, where MLflow looks for them.

    Return the server's address, without a slash at its end.
    """
    address = tracking_address(flag, env_file)
    if workspace is not None:
        # Also "": --workspace= leaves the choice to the server, whatever .env says.
        os.environ["MLFLOW_WORKSPACE"] = workspace
        env_file = {key: value for key, value in env_file.items() if key != "MLFLOW_WORKSPACE"}
    for key, value in env_file.items():
        if not os.environ.get(key):
            os.environ[key] = value
    os.environ["MLFLOW_TRACKING_URI"] = address
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # This script prints the addresses itself, without credentials.
    os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = "true"
    # The project in the current directory is not the model's.
    os.environ["MLFLOW_UV_AUTO_DETECT"] = "false"
    # Where git is not installed, GitPython would print a long warning.
    os.environ["GIT_PYTHON_REFRESH"] = "quiet"
    # A progress bar is of no use in a log.
    if not sys.stderr.isatty():
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    check_address(address)
    check_workspace(active_workspace())
    return address


def tracking_address(flag: str | None, env_file: Mapping[str, str]) -> str:
    """Return the address from the flag, the environment or .env; an empty value is not set."""
    layers: list[Mapping[str, str]] = [{"MLFLOW_TRACKING_URI": flag or ""}, os.environ, env_file]
    for layer in layers:
        for key in ("MLFLOW_TRACKING_URI", "MLFLOW_CONN_URL"):
            if layer.get(key):
                return layer[key].rstrip("/")
    return DEFAULT_REGISTRY


def check_address(address: str) -> None:
    """Refuse what is not the address of a server: nobody else would see a model in a local file."""
    # A name with a dot or a port; MLflow has places of other kinds, such as databricks.
    if re.match(r"([\w-]+(\.[\w-]+)+|[\w-]+(?=:[0-9]))(:[0-9]+)?(/|\Z)", address):
        why = "it has no http:// or https:// in front"
        remedy = f"write http://{printable_line(address)}, or https:// if the server speaks TLS"
        raise WrongUsageError(f"use {printable_line(address)}", why, remedy)
    if not re.match(r"https?://[^/]", address):
        why = "it is not the address of an MLflow server"
        remedy = "give one like http://mlflow.example:5000 with --tracking-uri or MLFLOW_TRACKING_URI"
        raise WrongUsageError(f"use {printable_line(address)}", why, remedy)


def active_workspace() -> str:
    """Return the workspace that MLflow's client asks for; empty where the server chooses."""
    return os.environ.get("MLFLOW_WORKSPACE", "").strip()


def check_workspace(workspace: str) -> None:
    """Refuse a workspace whose name MLflow would not allow."""
    if not re.fullmatch(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9]))?", workspace):
        what = f"use the workspace {printable_line(repr(workspace), 80)}"
        why = "names of workspaces have small letters, digits and -"
        raise WrongUsageError(what, why, "check --workspace or MLFLOW_WORKSPACE")


def ask_name() -> str:
    """Ask for the name; on a terminal, a wrong one is asked again."""
    while True:
        try:
            name = input("Name of the model (letters, digits, - and _): ").strip()
        except EOFError:
            print_line()
            what, why = "ask for the model's name", "there is nobody to answer"
            raise WrongUsageError(what, why, "give --name NAME") from None
        try:
            check_name(name)
        except PipelineError as error:
            if not sys.stdin.isatty():
                raise
            print_line(str(error))
        else:
            return name


def connect_client(address: str, verbose: bool) -> Any:
    """Return MLflow's client for the server at `address`. Importing MLflow takes seconds."""
    import mlflow

    if not verbose:
        quiet_mlflow()
    major_version = int(mlflow.__version__.partition(".")[0])
    if major_version < 3:
        why = f"mlflow {mlflow.__version__} is too old"
        raise PipelineError("start", why, "run pip install 'mlflow>=3'")
    mlflow.set_tracking_uri(address)
    mlflow.set_registry_uri(address)
    return mlflow.MlflowClient(tracking_uri=address, registry_uri=address)


def quiet_mlflow() -> None:
    """Hide MLflow's own advice and show the model's.

    MLflow resets Python's warning filters, so a filter is not enough.
    """
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


class VersionRow(NamedTuple):
    """A version in the table that the user sees before an update; every cell is printable text."""

    version: str
    stage: str
    aliases: str
    created: str
    by: str


def look_up_name(client: Any, name: str, address: str) -> list[VersionRow] | None:
    """Show and return the versions of a name, newest first; return None when it is free."""
    with registry_request(f"reach {address}", address, METADATA_SECONDS):
        versions = existing_versions(client, name)
    status = "a new name" if versions is None else "there already"
    print_line(f"      it answers; {name} is {status}")
    if versions is not None:
        show_versions(name, versions)
    return versions


def existing_versions(client: Any, name: str) -> list[VersionRow] | None:
    """Return the versions of a name, newest first, or None when the name is free."""
    from mlflow.exceptions import MlflowException

    try:
        registered = client.get_registered_model(name)
    except MlflowException as error:
        is_missing = error.error_code == "RESOURCE_DOES_NOT_EXIST"
        # A missing workspace has the same code: it is a mistake and does not make the name free.
        if is_missing and "Workspace" not in str(error):
            return None
        raise
    aliases: dict[str, list[str]] = {}
    for alias, version in dict(registered.aliases).items():
        aliases.setdefault(str(version), []).append(alias)
    versions = list(client.search_model_versions(f"name='{name}'"))
    # As numbers: as text, version 9 would come after version 10.
    versions.sort(key=lambda version: -int(version.version))
    return [version_row(version, aliases.get(str(version.version), [])) for version in versions]


def version_row(version: Any, aliases: list[str]) -> VersionRow:
    """Return an MLflow ModelVersion as a row of the table."""
    created = time.localtime((version.creation_timestamp or 0) / 1000)
    return VersionRow(
        version=str(version.version),
        stage=printable_line(version.current_stage or "None", 20),
        aliases=printable_line(", ".join(sorted(aliases)) or "-", 40),
        created=time.strftime("%Y-%m-%d %H:%M", created),
        by=printable_line(version.tags.get("registered_by") or version.user_id or "-", 30),
    )


def show_versions(name: str, rows: list[VersionRow], limit: int = 10) -> None:
    """Print the versions of a name as a table, at most `limit` of them."""
    plural = "" if len(rows) == 1 else "s"
    colon = ":" if rows else ""
    print_line(f"{name} exists already, with {len(rows)} version{plural}{colon}")
    table = [VersionRow._fields, *rows[:limit]] if rows else []
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print_line("  " + "  ".join(cells).rstrip())
    if len(rows) > limit:
        print_line(f"  … and {len(rows) - limit} older")


def confirm_update(name: str, update: bool) -> None:
    """Make sure that nobody adds a version to somebody's model unknowingly."""
    if update:
        return
    if not sys.stdin.isatty():
        remedy = "add --update if you mean it, or choose another --name"
        raise WrongUsageError(f"register {name}", "the name exists already", remedy)
    try:
        answer = input(f"Add a new version to {name}? Type yes: ")
    except EOFError:
        answer = ""
        print_line()
    if answer.strip().lower() not in ("y", "yes"):
        raise PipelineError(f"register {name}", "you did not say yes", "choose another --name")


@contextmanager
def registry_request(what: str, address: str, seconds: int, retries: int = 0) -> Iterator[None]:
    """Talk to MLflow within bounds; any failure becomes one PipelineError, "cannot `what`: …"."""
    try:
        with request_limits(seconds, retries):
            yield
    except PipelineError:
        raise
    # MLflow raises its own, requests', botocore's and plain Python's exceptions.
    except Exception as error:
        # The user's own limit was in force, if there is one.
        limit = os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT") or str(seconds)
        why, remedy = explain_registry_failure(RegistryFailure(error, address, limit))
        raise PipelineError(what, why, remedy) from error


@contextmanager
def request_limits(seconds: int, retries: int) -> Iterator[None]:
    """Bound MLflow's HTTP requests: with its defaults one call to a dead server takes minutes.

    What the user has set stays.
    """
    limits = {
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(seconds),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": str(retries),
        # The same for a bucket that boto3 writes to: its own default is five tries of a minute.
        "AWS_MAX_ATTEMPTS": str(retries + 1),
    }
    before = {key: os.environ.get(key) for key in limits}
    os.environ.update({key: value for key, value in limits.items() if not before[key]})
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


Failure = TypeVar("Failure")


@dataclass(frozen=True)
class Advice(Generic[Failure]):
    """A row of a table: if `applies` is true of a failure, `why` it failed and the `remedy`.

    Both sentences may name {words} that are filled in.
    """

    applies: Callable[[Failure], bool]
    why: str
    remedy: str


def anything(_failure: object) -> bool:
    """Test nothing: the last row of a table applies to all that is left."""
    return True


def first_advice(
    table: Iterable[Advice[Failure]],
    failure: Failure,
    words: Mapping[str, str],
) -> tuple[str, str]:
    """Return why and remedy of the first row that applies; `anything` is the test of the last."""
    row = next(row for row in table if row.applies(failure))
    return row.why.format_map(words), row.remedy.format_map(words)


@dataclass(frozen=True)
class RegistryFailure:
    """A failed request to MLflow: its exception, the server's address, the limit in seconds."""

    error: BaseException
    address: str
    seconds: str

    @property
    def text(self) -> str:
        """Return MLflow's message."""
        return str(self.error)

    @property
    def code(self) -> str:
        """Return MLflow's error code; empty where the exception is not MLflow's."""
        return str(getattr(self.error, "error_code", ""))

    @property
    def causes(self) -> list[BaseException]:
        """Return the exception, what it was raised from, and so on to the innermost."""
        chain: list[BaseException] = []
        cause: BaseException | None = self.error
        while cause is not None and cause not in chain:
            chain.append(cause)
            cause = cause.__cause__ or cause.__context__
        return chain

    @property
    def bucket_errors(self) -> list[str]:
        """Return the names of boto3's exceptions among the causes, and S3's codes in them."""
        found: list[str] = []
        for cause in self.causes:
            if type(cause).__module__.partition(".")[0] in ("boto3", "botocore"):
                found.append(type(cause).__name__)
                answer = getattr(cause, "response", None)
                error = answer.get("Error") if isinstance(answer, dict) else None
                found += [printable_line(error.get("Code", ""), 40)] if error else []
        # boto3 does not have an exception of its own for it.
        return found or ["InvalidEndpoint"] * self.text.startswith("Invalid endpoint: ")


def caused_by(*kinds: type[BaseException]) -> Callable[[RegistryFailure], bool]:
    """Make a test: one of the causes is of one of these kinds."""
    return lambda failure: any(isinstance(cause, kinds) for cause in failure.causes)


def answered(code: str, status: int) -> Callable[[RegistryFailure], bool]:
    """Make a test: MLflow answered this code, or a program in front of it this HTTP status."""
    return lambda failure: failure.code == code or f"error code {status}" in failure.text


def has_no_workspaces(failure: RegistryFailure) -> bool:
    """Tell whether a workspace was asked of a server that has none."""
    says_so = failure.code == "FEATURE_DISABLED" or "does not support workspaces" in failure.text
    return bool(active_workspace()) and says_so


def lacks_this_workspace(failure: RegistryFailure) -> bool:
    """Tell whether the server lacks the workspace, and not another resource."""
    says_so = failure.code == "RESOURCE_DOES_NOT_EXIST" and "orkspace" in failure.text
    return bool(active_workspace()) and says_so


def refuses_login(failure: RegistryFailure) -> bool:
    """Tell whether the server does not know who asks, although a user name or token was sent."""
    sent = os.environ.get("MLFLOW_TRACKING_USERNAME") or os.environ.get("MLFLOW_TRACKING_TOKEN")
    return bool(sent) and answered("UNAUTHENTICATED", 401)(failure)


def bucket_failed(*names: str) -> Callable[[RegistryFailure], bool]:
    """Make a test: boto3 failed, with an exception or an error code of S3 of one of these names.

    Without names, with any. By name, because boto3 need not be installed.
    """

    def test(failure: RegistryFailure) -> bool:
        found = failure.bucket_errors
        return bool(found and not names) or any(name in found for name in names)

    return test


def lacks_boto3(failure: RegistryFailure) -> bool:
    """Tell whether the artifacts are in a bucket and boto3 is missing."""
    missing = [cause.name or "" for cause in failure.causes if isinstance(cause, ImportError)]
    return any(name.partition(".")[0] in ("boto3", "botocore") for name in missing)


def distrusts_certificate(failure: RegistryFailure) -> bool:
    """Tell whether TLS worked so far that a certificate came, and it was not accepted."""
    return any("certificate" in str(cause).lower() for cause in failure.causes)


def sends_no_json(failure: RegistryFailure) -> bool:
    """Tell whether the answer is not JSON, as MLflow's answers are."""
    says_so = "not in a valid JSON format" in failure.text
    return says_so or caused_by(json.JSONDecodeError)(failure)


def registry_advice() -> Iterable[Advice[RegistryFailure]]:
    """Return the table of failed requests; requests and urllib3 are imported only for it."""
    from requests import exceptions as of_requests
    from urllib3 import exceptions as of_urllib3

    set_login = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, best in .env"
    of_tls = caused_by(of_requests.SSLError, of_urllib3.SSLError)
    no_mlflow = "another program than MLflow answers there"
    bucket = "its artifacts are in a bucket that you write to yourself"
    set_keys = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, best in .env"
    set_server = "set MLFLOW_S3_ENDPOINT_URL to the address of the bucket's server, best in .env"
    ask = "ask the people who run the MLflow server"
    # The server's own words come first. The time-outs come after a refused connection and an
    # unknown name, because urllib3 derives both from its time-out.
    return (
        Advice(
            has_no_workspaces,
            "it has no workspaces",
            "leave out --workspace and MLFLOW_WORKSPACE ({workspace})",
        ),
        Advice(
            lacks_this_workspace,
            "it has no workspace {workspace}",
            "check --workspace or MLFLOW_WORKSPACE",
        ),
        Advice(refuses_login, "it refused your user name, password or token", set_login),
        Advice(answered("UNAUTHENTICATED", 401), "it wants a user name and a password", set_login),
        Advice(
            answered("PERMISSION_DENIED", 403),
            "it says you are not allowed to: {message}",
            ask,
        ),
        Advice(lacks_boto3, f"{bucket}, and boto3 is not installed", "run pip install boto3"),
        Advice(
            bucket_failed("NoCredentialsError", "PartialCredentialsError"),
            f"{bucket}, and you have no keys for it",
            f"{ask} for keys and set {set_keys}",
        ),
        Advice(
            bucket_failed("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"),
            f"{bucket}, and its server refused your keys ({{bucket_error}})",
            f"check {set_keys}",
        ),
        Advice(
            bucket_failed("AccessDenied"),
            f"{bucket}, and your keys may not write to it",
            f"{ask} to permit it",
        ),
        Advice(
            bucket_failed("NoSuchBucket", "PermanentRedirect", "InvalidEndpoint"),
            f"{bucket}, and {{bucket_server}} is not its server ({{bucket_error}})",
            set_server,
        ),
        Advice(
            bucket_failed("SSLError"),
            f"{bucket}, and this machine does not trust the certificate of {{bucket_server}}",
            "set AWS_CA_BUNDLE to the file with its authority",
        ),
        Advice(
            bucket_failed("EndpointConnectionError", "ConnectTimeoutError", "ReadTimeoutError"),
            f"{bucket}, and {{bucket_server}} does not answer",
            set_server,
        ),
        Advice(
            bucket_failed("MissingContentLength", "NotImplemented", "XAmzContentSHA256Mismatch"),
            f"{bucket}, and its server is too old for boto3's checksums ({{bucket_error}})",
            "set AWS_REQUEST_CHECKSUM_CALCULATION=when_required, best in .env",
        ),
        Advice(
            bucket_failed(),
            f"{bucket}, and that failed: {{innermost}}",
            f"check MLFLOW_S3_ENDPOINT_URL ({{bucket_server}}), or {ask}",
        ),
        Advice(
            sends_no_json,
            f"{no_mlflow} (it sent a web page, perhaps a login)",
            "{check_address}",
        ),
        Advice(
            answered("ENDPOINT_NOT_FOUND", 404),
            f"{no_mlflow}, or an MLflow much older than the one here (404)",
            "{check_address}",
        ),
        Advice(
            lambda failure: of_tls(failure) and distrusts_certificate(failure),
            "this machine does not trust its certificate",
            "set MLFLOW_TRACKING_SERVER_CERT_PATH, or {check_address}",
        ),
        Advice(
            of_tls,
            "it does not speak TLS as https:// expects",
            "write http:// if the server has no TLS: {check_address}",
        ),
        Advice(
            caused_by(ConnectionRefusedError),
            "it refused the connection",
            "start the MLflow server, or {check_address}",
        ),
        Advice(
            caused_by(of_urllib3.NameResolutionError),
            "no machine has that name",
            "{check_address}",
        ),
        Advice(
            caused_by(TimeoutError, of_urllib3.TimeoutError, of_requests.Timeout),
            "it did not answer within {seconds} seconds",
            "try again when it is less busy, or {check_address}",
        ),
        Advice(
            caused_by(ModuleNotFoundError),
            "its artifact store needs {missing_module}",
            "run pip install {missing_module}",
        ),
        Advice(anything, "{innermost}", "read the server's log, or {check_address}"),
    )


def explain_registry_failure(failure: RegistryFailure) -> tuple[str, str]:
    """Return why a request to MLflow failed and what to do."""
    innermost = failure.causes[-1]
    places = "--tracking-uri or MLFLOW_TRACKING_URI"
    missing = (cause.name for cause in failure.causes if isinstance(cause, ModuleNotFoundError))
    amazon = "Amazon's server (MLFLOW_S3_ENDPOINT_URL is not set)"
    words = {
        "workspace": active_workspace(),
        "message": printable_line(failure.text),
        "seconds": failure.seconds,
        "missing_module": str(next(missing, "")),
        "bucket_error": (failure.bucket_errors or [""])[-1],
        "bucket_server": printable_line(os.environ.get("MLFLOW_S3_ENDPOINT_URL") or amazon),
        "innermost": f"{type(innermost).__name__}: {printable_line(innermost)}",
        "check_address": f"check the address ({failure.address}) in {places}",
    }
    return first_advice(registry_advice(), failure, words)


# -------------------------------------------------------------------------------------------- hosts


HOSTS_EXPERIMENT, HOST_PREFIX = "mlflow-systemd", "host."
"""The experiment at whose tags each host says what it can do."""
HOST_MAX, HOSTS_MAX = 20_000, 200
"""Characters of what one host says, and hosts; anybody may write there."""
PUBLIC_ADDRESS = re.compile(r"https?://[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]{1,5}|:\{port\})?(/[A-Za-z0-9._~{}-]*)*")
SELECTOR = re.compile(r"(alias|stage):[A-Za-z0-9_. -]{1,80}")
SILENT_HOURS = 3
"""A host that has said nothing for so long is off, gone, or does not reach the server."""


@dataclass(frozen=True)
class Host:
    """What a host has said of itself. `names` is None where it does not tell which models it deploys."""

    name: str
    silent: str
    pythons: list[str]
    downloads_pythons: bool
    selectors: list[str]
    names: list[str] | None
    require_hashes: bool
    max_size: int
    memory_max: int
    start_timeout: int
    public_url: str

    def problems(self, name: str, size: int) -> list[str]:
        """Return why it would not deploy a model of this name and size in bytes that was made here, and what to do."""
        found = []
        if own_python() not in self.pythons and not self.downloads_pythons:
            found.append(
                f"this model needs Python {own_python()}, and it has {', '.join(self.pythons) or 'none'}:"
                " log the model with one of these, or ask the host's operators to install yours"
            )
        if self.names is not None and not any(fnmatchcase(name, pattern) for pattern in self.names):
            found.append(f"its policy does not allow the name {name}: ask its operators to add it to policy.names")
        if 0 < self.max_size < size:
            largest = human_size(self.max_size)
            found.append(f"this model has {human_size(size)}, and it takes {largest}: ship less, or ask its operators")
        if self.require_hashes:
            found.append("it installs only packages whose hashes it knows: ask its operators for a list of them")
        return found

    def conditions(self) -> str:
        """Return how it runs a model, for people."""
        follows = " or ".join(self.selectors) or "nothing"
        memory = f"{human_size(self.memory_max)} of memory" if self.memory_max else "all its memory"
        return f"it follows {follows}; at most {memory} and {self.start_timeout} s to load"


def compare_with_hosts(client: Any, address: str, name: str, size: int) -> list[Host]:
    """Print which hosts could deploy this model, and return those that could, or might.

    Nothing is refused for it: what hosts say can change before somebody promotes the version.
    """
    try:
        with registry_request(f"ask {address} what its hosts can do", address, METADATA_SECONDS):
            experiment = client.get_experiment_by_name(HOSTS_EXPERIMENT)
    except PipelineError as error:
        print_warning(str(error))
        return []
    hosts = read_hosts(experiment.tags if experiment is not None else {}, time.time())
    if not hosts:
        print_line("      no host has said what it can do, so this is not compared")
    able = []
    for host in hosts:
        problems = host.problems(name, size)
        silent = f" (it was last heard of {host.silent})" if host.silent else ""
        if problems:
            print_line(f"      {host.name} cannot deploy it{silent}: {'; '.join(problems)}")
        else:
            able.append(host)
            print_line(f"      {host.name} can deploy it{silent}: {host.conditions()}")
    if hosts and not able:
        print_warning(f"no host can deploy {name} as it is; the lines above say why.")
    return able


def read_hosts(tags: Mapping[str, str], now: float) -> list[Host]:
    """Return what the hosts have said, sorted by name; what no host can have written is passed over.

    `now`: seconds since 1970.
    """
    told = sorted((key, text) for key, text in tags.items() if key.startswith(HOST_PREFIX))
    read = (read_host(key.removeprefix(HOST_PREFIX), text, now) for key, text in told[:HOSTS_MAX])
    return [host for host in read if host is not None]


def read_host(name: str, text: str, now: float) -> Host | None:
    """Return what one host says; None for what is not of its form. Anybody may have written it."""
    try:
        told = json.loads(text[:HOST_MAX])
        seen = calendar.timegm(time.strptime(told["seen"], "%Y-%m-%dT%H:%MZ"))
        is_silent = now - seen > SILENT_HOURS * 3600
        return Host(
            name=printable_line(name, 60),
            silent=printable_line(told["seen"], 20) if is_silent else "",
            pythons=short_texts(told["pythons"]),
            downloads_pythons=told["downloads_pythons"] is True,
            selectors=[text for text in short_texts(told["selectors"]) if SELECTOR.fullmatch(text)],
            names=None if told["names"] is None else short_texts(told["names"]),
            require_hashes=told["require_hashes"] is True,
            max_size=whole_number(told["max_size"]),
            memory_max=whole_number(told["memory_max"]),
            start_timeout=whole_number(told["start_timeout"]),
            # It becomes a part of a command that people copy.
            public_url=told["public_url"][:200] if PUBLIC_ADDRESS.fullmatch(told["public_url"]) else "",
        )
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
        return None


def whole_number(value: Any) -> int:
    """Return a number that sizes and seconds can be; raise ValueError for anything else."""
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError("it is no size")
    return value


def short_texts(value: Any) -> list[str]:
    """Return a list of texts that may be printed; raise TypeError for anything else."""
    if not isinstance(value, list):
        raise TypeError("it is no list")
    return [printable_line(text, 80) for text in value]


def own_python() -> str:
    """Return the minor version of this Python, such as 3.12: the host builds the environment with the same."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


# ---------------------------------------------------------------------------------------------- try


LOADER = "served_model.py"
# The model server allows the replayed example the same (modelserver/model/replay.py): rounding, not
# another answer.
TOLERANCE = {"rel_tol": 1e-3, "abs_tol": 1e-5}


class WrongAnswerError(Exception):
    """What a model answered is not what the contract asks for."""


@dataclass(frozen=True)
class StagedModel:
    """A copy of the model's code in a folder of its own, from which MLflow saves the model.

    `origins` has the user's own path of each copy, by the path of the copy below `code`.
    """

    source: ModelSource
    folder: Path
    origins: dict[str, Path]

    @property
    def code(self) -> Path:
        """Return the folder of the copies."""
        return self.folder / "code"

    @property
    def saved(self) -> Path:
        """Return the folder that MLflow saves the model to."""
        return self.folder / "model"

    @property
    def example(self) -> Path:
        """Return the folder of the example; MLflow stores it under the name of the folder."""
        return self.folder / EXAMPLE_KEY

    def saving(self) -> dict[str, Any]:
        """Return the arguments of MLflow's save_model and log_model that say what the model is."""
        artifacts = {EXAMPLE_KEY: str(self.example)}
        artifacts.update({key: str(path) for key, path in self.source.artifacts.items()})
        return {
            "python_model": str(self.folder / LOADER),
            "code_paths": [str(self.code / path.name) for path in self.source.code],
            "artifacts": artifacts,
        }

    def origin_of(self, filename: str) -> Path | None:
        """Return the user's own file of a copy, staged or saved; None of any other file."""
        for folder in (self.saved / "code", self.code):
            if is_below(filename, folder):
                return self.origins.get(str(Path(filename).relative_to(folder)), self.source.file)
        return None


def is_below(filename: str, folder: Path) -> bool:
    """Tell whether a file is in a folder or a folder below it."""
    return filename.startswith(f"{folder}{os.sep}")


def try_as_served(inputs: PipelineInputs, folder: Path) -> dict[str, Any]:
    """Save the model into `folder`, load it back and ask it, as the host does.

    Return the arguments for MLflow's log_model. Raise PipelineError if the model would fail there.
    """
    staged = stage_model(inputs.source, folder)
    inputs.example.write(staged.example, None)
    saving = staged.saving()
    print_line(f"[2/5] trying {inputs.source.spec} as on the host: save it, load it back, ask it")
    with working_in_new_folder(folder / "empty"):
        answer = ask_as_served(staged, inputs.example, saving)
        requirements = served_requirements(staged, inputs.requirements)
    inputs.example.write(staged.example, answer)
    print_line(f"      it answers {printable_line(answer, 100)}")
    print_line(f"      it needs Python {own_python()} and {', '.join(requirements)}")
    return saving | {"pip_requirements": requirements}


def stage_model(source: ModelSource, folder: Path) -> StagedModel:
    """Copy the code that is shipped and write the loader.

    The model is logged as code, not pickled: the registry shows what will run, nothing depends on
    the Python or cloudpickle version of this machine, and MLflow can be told to refuse pickles. The
    class is made without arguments.
    """
    code = folder / "code"
    code.mkdir()
    origins: dict[str, Path] = {}
    for path in source.code:
        origins.update(copy_code(path, code))
    (folder / LOADER).write_text(
        '"""Written by pipeline.py: names the class in code/ that is this model, '
        'so that nothing is unpickled."""\n\n'
        f"import importlib\n\nfrom mlflow.models import set_model\n\n"
        f"model_class = importlib.import_module({source.file.stem!r}).{source.class_name}\n"
        f"set_model(model_class())\n",
        encoding="utf-8",
    )
    return StagedModel(source, folder, origins)


def copy_code(path: Path, code: Path) -> dict[str, Path]:
    """Copy a file, or a folder without its hidden files (.env, .git), into the folder `code`.

    Return the user's own path of each copy, by the path of the copy below `code`.
    """
    target = code / path.name
    if not path.is_dir():
        shutil.copyfile(path, target)
        return {path.name: path}
    shutil.copytree(path, target, ignore=shutil.ignore_patterns(".*", "__pycache__", "*.pyc"))
    copies = list(target.rglob("*"))
    return {str(copy.relative_to(code)): path / copy.relative_to(target) for copy in copies}


@contextmanager
def working_in_new_folder(folder: Path) -> Iterator[None]:
    """Work in an empty folder: the host has no file of the current one that a model could open."""
    before = Path.cwd()
    folder.mkdir()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def ask_as_served(
    staged: StagedModel,
    example: ExampleRequest,
    saving: dict[str, Any],
) -> ModelAnswer:
    """Save the model, load it back, ask it twice as the server does; return the checked answer."""
    spec = staged.source.spec
    try:
        first, second = predict_twice(staged, example, saving)
    # SystemExit too: a model that calls exit() must not end this script without a word.
    except (Exception, SystemExit) as error:
        raise explain_model_failure(staged, error) from error
    try:
        answer = check_output(first)
        repeated = check_output(second)
    except WrongAnswerError as problem:
        remedy = "return a list of numbers and one of positive, negative, inconclusive, like ([0.1, 0.2], 'negative')"
        raise PipelineError(f"accept {spec}", str(problem), remedy) from problem
    if not same_answer(answer, repeated):
        print_warning(
            f"{spec} answered the same example differently the second time"
            f" ({short_repr(answer)}, then {short_repr(repeated)})."
            " The host replays the example before it serves a version and expects the same answer:"
            " seed its random numbers, or the host may reject the version."
        )
    return answer


def predict_twice(
    staged: StagedModel,
    example: ExampleRequest,
    saving: dict[str, Any],
) -> tuple[Any, Any]:
    """Return two answers of the saved model; whatever its code raises comes through."""
    import mlflow.pyfunc

    # The true list is found only in the saved model; given none, MLflow would search for one now.
    requirements = [f"mlflow-skinny=={mlflow.__version__}"]
    sys.path.insert(0, str(staged.code))
    try:
        mlflow.pyfunc.save_model(str(staged.saved), pip_requirements=requirements, **saving)
    finally:
        sys.path.remove(str(staged.code))
        forget_modules(staged.folder)
    model = mlflow.pyfunc.load_model(str(staged.saved))
    # Twice, because the host asks the same again and expects the same answer.
    return model.predict(example.model_input()), model.predict(example.model_input())


def forget_modules(folder: Path) -> None:
    """Drop the modules of a folder, so that loading the saved model imports the saved copy."""
    for name, module in list(sys.modules.items()):
        if is_below(str(getattr(module, "__file__", None) or ""), folder):
            del sys.modules[name]


@dataclass(frozen=True)
class ModelFailure:
    """An exception that was raised while a model was saved, loaded or asked."""

    error: BaseException
    source: ModelSource

    @property
    def missing_module(self) -> str:
        """Return the top-level module that an import did not find; empty for any other error."""
        name = self.error.name if isinstance(self.error, ModuleNotFoundError) else None
        return (name or "").partition(".")[0]

    @property
    def neighbour(self) -> Path | None:
        """Return the file or folder beside the model that is the missing module, if any."""
        module, folder = self.missing_module, self.source.file.parent
        if not module:
            return None
        candidates = (folder / f"{module}.py", folder / module)
        return next((path for path in candidates if path.exists()), None)


def raised(kind: type[BaseException]) -> Callable[[ModelFailure], bool]:
    """Make a test: the error is of this kind."""
    return lambda failure: isinstance(failure.error, kind)


def mlflow_says(words: str) -> Callable[[ModelFailure], bool]:
    """Make a test: MLflow itself raised the error, with these words in it."""
    return lambda failure: is_mlflow_error(failure.error) and words in str(failure.error)


def is_mlflow_error(error: BaseException) -> bool:
    """Tell whether the class of an error is MLflow's."""
    return type(error).__module__.startswith("mlflow.")


def imports_neighbour(failure: ModelFailure) -> bool:
    """Tell whether the model imports a file or folder beside it that is not shipped."""
    return failure.neighbour is not None


MODEL_ADVICE: tuple[Advice[ModelFailure], ...] = (
    Advice(imports_neighbour, "{error}{place}", "add --code {neighbour}"),
    Advice(
        raised(ModuleNotFoundError),
        "{error}{place}",
        "install the package that has {module} with pip, or ship it with --code",
    ),
    Advice(
        raised(FileNotFoundError),
        "{error}{place}",
        "ship the file with --artifact KEY=PATH and open context.artifacts[KEY]: the host has no other file",
    ),
    Advice(
        mlflow_says("type hint"),
        "{error}{place}",
        "remove the type from model_input: MLflow would check and convert what predict gets",
    ),
    Advice(
        mlflow_says("should either be an instance of"),
        "TypeError: it is not a PythonModel{place}",
        "derive the class from mlflow.pyfunc.PythonModel",
    ),
    Advice(anything, "{error}{place}", "correct it"),
)


def explain_model_failure(staged: StagedModel, error: BaseException) -> PipelineError:
    """Say which exception a model raised and on which line of the user's own file."""
    # MLflow wraps what the model raised; the author knows the inner one.
    while is_mlflow_error(error) and error.__cause__ is not None:
        error = error.__cause__
    failure = ModelFailure(error, staged.source)
    words = {
        "error": f"{type(error).__name__}: {printable_line(error, 300)}",
        "place": failing_place(staged, error),
        "module": failure.missing_module,
        "neighbour": str(failure.neighbour),
    }
    why, remedy = first_advice(MODEL_ADVICE, failure, words)
    return PipelineError(f"run {staged.source.spec}", why, remedy)


def failing_place(staged: StagedModel, error: BaseException) -> str:
    """Return ` (FILE, line N: CODE)` of the innermost line of the user's code, or nothing."""
    place = ""
    for frame in traceback.extract_tb(error.__traceback__):
        # The innermost frame comes last, and overwrites the earlier ones.
        original = staged.origin_of(frame.filename)
        if original is not None:
            line = printable_line(frame.line or "", 100)
            place = f" ({original.name}, line {frame.lineno}: {line})"
    return place


def check_output(result: Any) -> ModelAnswer:
    """Return an answer as plain Python values, or raise WrongAnswerError that says what came."""
    if not isinstance(result, tuple | list) or len(result) != 2:
        kind = type(result).__name__
        raise WrongAnswerError(f"predict returned {short_repr(result)} ({kind}), not a pair")
    output, diagnosis = result
    is_array = hasattr(output, "tolist") and getattr(output, "ndim", 0) == 1
    if not isinstance(output, tuple | list) and not is_array:
        shown = short_repr(output)
        raise WrongAnswerError(f"the first of the pair is {shown}, not a list of numbers")
    checked = [finite_number(index, value) for index, value in enumerate(output)]
    if not isinstance(diagnosis, str) or diagnosis not in DIAGNOSES:
        raise WrongAnswerError(f"the diagnosis is {short_repr(diagnosis)}")
    return checked, str(diagnosis)


def finite_number(index: int, value: Any) -> float:
    """Return a number of an answer as Python's float, or raise WrongAnswerError."""
    # Scalars of numpy or torch become Python's.
    is_scalar = hasattr(value, "item") and getattr(value, "ndim", None) == 0
    number = value.item() if is_scalar else value
    said = f"number {index} of the list is {short_repr(value)}"
    # True is a number to Python, but hardly what a score means.
    if not isinstance(number, numbers.Real) or isinstance(number, bool):
        raise WrongAnswerError(f"{said} ({type(value).__name__})")
    try:
        result = float(number)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise WrongAnswerError(f"{said}, which JSON cannot carry")
    return result


def same_answer(first: ModelAnswer, second: ModelAnswer) -> bool:
    """Tell whether two answers agree within TOLERANCE."""
    first_numbers, first_diagnosis = first
    second_numbers, second_diagnosis = second
    if first_diagnosis != second_diagnosis or len(first_numbers) != len(second_numbers):
        return False
    pairs = zip(first_numbers, second_numbers, strict=True)
    return all(math.isclose(before, after, **TOLERANCE) for before, after in pairs)


def served_requirements(staged: StagedModel, given: list[str] | None) -> list[str]:
    """Return what the served model needs: the user's list, or the one that is found.

    mlflow-skinny with pandas loads and runs a pyfunc model (tried in an empty environment); the
    full mlflow would bring some fifty packages more to every environment on the host.
    """
    import mlflow

    requirements = found_requirements(staged) if given is None else list(given)
    if not names_project(requirements, "mlflow", "mlflow-skinny"):
        requirements.insert(0, f"mlflow-skinny=={mlflow.__version__}")
    if not names_project(requirements, "mlflow", "pandas"):
        # A list of the user's own decides about versions itself.
        requirements.append(pinned_requirement("pandas") if given is None else "pandas")
    return requirements


def found_requirements(staged: StagedModel) -> list[str]:
    """Return what the saved model needs, as MLflow sees it load, and what its code imports."""
    import mlflow.models

    infer: Callable[..., list[str]] = mlflow.models.infer_pip_requirements
    inferred = infer(str(staged.saved), "python_function", fallback=[])
    # Loading the model does not show an import inside predict, so the code is read, too.
    providers = importlib.metadata.packages_distributions()
    imported: set[str] = set()
    for module in imported_modules(staged):
        # A namespace package has several providers; which of them is needed is not known.
        imported.update(providers.get(module, [])[:1])
    known = {normalized_project(requirement) for requirement in inferred}
    missed = [name for name in sorted(imported) if normalized_project(name) not in known]
    return [*inferred, *map(pinned_requirement, missed)]


def names_project(requirements: Iterable[str], *projects: str) -> bool:
    """Tell whether one of the requirements is for one of the projects (their names normalized)."""
    return any(normalized_project(requirement) in projects for requirement in requirements)


def normalized_project(requirement: str) -> str:
    """Return the project name of a requirement, as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement.strip(), maxsplit=1)[0]).lower()


def pinned_requirement(distribution: str) -> str:
    """Return name==version of an installed distribution."""
    return f"{distribution}=={importlib.metadata.version(distribution)}"


def imported_modules(staged: StagedModel) -> set[str]:
    """Return the top-level modules that the shipped code imports anywhere.

    Python's own, the user's own and mlflow are left out.
    """
    shipped = [Path(entry) for entry in staged.origins]
    own = {entry.stem for entry in shipped} | {entry.parts[0] for entry in shipped}
    found: set[str] = set()
    for path in staged.origins.values():
        if path.suffix == ".py" and path.is_file():
            found |= imports_of(path, staged.source.class_name)
    return found - own - sys.stdlib_module_names - {"mlflow"}


def imports_of(path: Path, class_name: str) -> set[str]:
    """Return the top-level modules that a file imports; of this script, those of the class."""
    try:
        tree: ast.AST = ast.parse(path.read_bytes(), str(path))
    # The model ran without it: nothing imports a file that is not Python.
    except (SyntaxError, ValueError):
        return set()
    if path == Path(__file__).resolve():
        # The rest of this file is not the model: it would bring requests and more to the host.
        classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
        tree = ast.Module([node for node in classes if node.name == class_name], [])
    found: set[str] = set()
    for node in ast.walk(tree):
        found |= imported_by(node)
    return found


def imported_by(node: ast.AST) -> set[str]:
    """Return the top-level modules that a statement imports; a relative one is the user's own."""
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return {node.module.partition(".")[0]}
    return set()


# ---------------------------------------------------------------------------------------------- log


def log_model(
    experiment: str,
    address: str,
    saving: dict[str, Any],
    progress: RegistrationProgress,
) -> Any:
    """Log the model in a new run of an experiment; return MLflow's ModelInfo of it.

    MLflow's `registered_model_name=` would register it at once; but then nobody could tell what an
    interruption left behind. So it is registered only when it is completely there.
    """
    import mlflow.pyfunc

    with registry_request(f"log the model at {address}", address, UPLOAD_SECONDS, retries=2):
        progress.logging = True
        mlflow.set_experiment(experiment)
        with mlflow.start_run(run_name=progress.name) as run:
            progress.run_id = run.info.run_id
            mlflow.set_tag("pipeline.model", progress.name)
            logged = mlflow.pyfunc.log_model(name="model", **saving)
        progress.model_uri = logged.model_uri
    where = f"in experiment {printable_line(experiment, 60)}, run {progress.run_id}"
    print_line(f"[4/5] logged as {logged.model_uri} {where}")
    return logged


LARGE = 8 * 1024 * 1024
"""Bytes of a file whose upload is worth a line; MLflow says nothing while it sends one."""
PROGRESS_SECONDS = 10.0


def large_files(saved: Path) -> dict[str, int]:
    """Return the sizes of a model's large files by their names."""
    sizes = {path.name: path.stat().st_size for path in saved.rglob("*") if path.is_file()}
    return {name: size for name, size in sizes.items() if size >= LARGE}


@contextmanager
def progress_lines(large: Mapping[str, int], own: Iterable[Path], seconds: float = PROGRESS_SECONDS) -> Iterator[None]:
    """Print now and then how far the upload of large files is; `own` are paths that MLflow only copies from."""
    ended = threading.Event()
    begun = time.monotonic()

    def tell() -> None:
        sent: dict[str, int] = {}
        while not ended.wait(seconds):
            for name, position in positions_read(large, own).items():
                sent[name] = max(position, sent.get(name, 0))
            amount = f"{human_size(sum(sent.values()))} of {human_size(sum(large.values()))}"
            elapsed = f"{time.monotonic() - begun:.0f} s"
            print_line(f"      sent {amount} after {elapsed}" if sent else f"      still sending after {elapsed}")

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()


def positions_read(large: Mapping[str, int], own: Iterable[Path]) -> dict[str, int]:
    """Return how far this process has read the large files that it sends, by their names; {} where no /proc says it.

    MLflow has no call that tells it, whatever it sends a file with.
    """
    found: dict[str, int] = {}
    try:
        opened = list(Path("/proc/self/fd").iterdir())
    except OSError:
        return {}
    for descriptor in opened:
        try:
            file = descriptor.readlink()
            info = Path("/proc/self/fdinfo", descriptor.name).read_text(encoding="ascii")
        except OSError:  # closed in between
            continue
        fields = dict(line.split(":", 1) for line in info.splitlines() if ":" in line)
        is_read_only = int(fields["flags"], 8) & os.O_ACCMODE == os.O_RDONLY
        is_own = any(file == path or path in file.parents for path in own)
        if file.name in large and is_read_only and not is_own:
            found[file.name] = max(int(fields["pos"]), found.get(file.name, 0))
    return found


# ----------------------------------------------------------------------------------------- register


def register_version(
    client: Any,
    logged: Any,
    is_new_name: bool,
    address: str,
    progress: RegistrationProgress,
) -> None:
    """Make the logged model a version of its name, and wait until MLflow says READY."""
    with registry_request(f"register {progress.name} at {address}", address, METADATA_SECONDS):
        if is_new_name:
            create_name(client, progress.name)
            progress.name_created = True
        version = create_version(client, logged, progress)
        progress.version = str(version.version)
        wait_until_ready(client, version, progress.name)
        progress.ready = True


def create_name(client: Any, name: str) -> None:
    """Create the registered model; refuse a name that somebody took during the upload."""
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
        why = "somebody else registered that name just now"
        remedy = "look at that model, then run this again"
        raise PipelineError(f"register {name}", why, remedy) from error


def create_version(client: Any, logged: Any, progress: RegistrationProgress) -> Any:
    """Create a version from the logged model; return MLflow's ModelVersion, perhaps not READY."""
    import requests
    from mlflow.exceptions import MlflowException

    progress.registering = True
    try:
        return client.create_model_version(
            progress.name,
            logged.model_uri,
            run_id=progress.run_id,
            model_id=logged.model_id,
            tags={"registered_by": account_name()},  # MLflow without authentication records nobody
            await_creation_for=0,  # wait_until_ready does: it can say which version is stuck
        )
    except MlflowException as error:
        # An answer, even a refusal, says that there is no version; a broken connection does not.
        cause = error.__cause__ or error.__context__
        progress.registering = isinstance(cause, requests.exceptions.RequestException)
        raise


def account_name() -> str:
    """Return who runs this; the table of versions shows it to the next person."""
    try:
        return os.environ.get("MLFLOW_TRACKING_USERNAME") or getpass.getuser()
    except (KeyError, OSError):  # an account that has no name, as in some containers
        return f"uid {os.getuid()}"


def wait_until_ready(client: Any, version: Any, name: str) -> None:
    """Wait at most READY_SECONDS; raise PipelineError when the version does not become READY."""
    number = str(version.version)
    deadline = time.monotonic() + READY_SECONDS
    while version.status != "READY":
        if version.status == "FAILED_REGISTRATION" or time.monotonic() > deadline:
            message = printable_line(version.status_message or "no reason")
            why = f"version {number} is {version.status}: {message}"
            raise PipelineError(f"finish {name}", why, "run this again and promote the new version")
        time.sleep(0.5)
        version = client.get_model_version(name, number)


def page_of(address: str, name: str, version: str = "") -> str:
    """Return the address of a model's or a version's page in MLflow's UI, without credentials."""
    place = f"/models/{name}" + (f"/versions/{version}" if version else "")
    workspace = active_workspace()
    return redact(f"{address}/#{place}" + (f"?workspace={workspace}" if workspace else ""))


def next_steps(name: str, version: str, page: str, hosts: Sequence[Host], example: ExampleRequest) -> str:
    """Return what a person does now; `hosts` are those that could deploy it, none where they are not known."""
    workspace = active_workspace()
    where = ""
    if workspace:
        where = f"\n     Only hosts that follow the workspace {workspace} see it (registry.workspace)."
    return f"""
{name} version {version} is registered and READY.

  {page}

What to do next:
  1. Open that page. Do not click "Promote model": that copies the version to another model.
{how_to_promote(version, hosts)}
  3. Reload that page after a while. The tag deployed.<host> says what the host does with this version,
     or why it does nothing, and when that was last true. The host renews it every hour: an older tag
     is of a host that is off, gone or renamed.{where}
  4. When the tag says "serving", ask it:

{how_to_ask(name, hosts, example)}
"""


def how_to_promote(version: str, hosts: Sequence[Host]) -> str:
    """Return step 2: by an alias first where a host follows one, else by the stage."""
    selectors = {selector: [host.name for host in hosts if selector in host.selectors] for selector in followed(hosts)}
    aliases = {kind[6:]: names for kind, names in selectors.items() if kind.startswith("alias:")}
    stages = {kind[6:]: names for kind, names in selectors.items() if kind.startswith("stage:")}
    ways = [
        f'Add the alias {alias} to it, beside "Aliases": {", ".join(names)} follows that.'
        for alias, names in sorted(aliases.items())
    ]
    by_stage = [
        f'Switch "New model registry UI" off (top right, then Disable): with it on, the stage is read-only.\n'
        f'     Click the stage beside "Stage" and choose "Transition to -> {stage}". Tick the box that moves the\n'
        f"     version that is in {stage} now to Archived, and click OK."
        + (f" {', '.join(names)} follows it." if names else "")
        for stage, names in sorted(stages.items() or {"Production": []}.items())
        if stages or not aliases
    ]
    if not hosts:
        by_stage.append(f"If the host follows an alias instead, leave the switch on and give it to version {version}.")
    return "  2. " + "\n     ".join([*ways, *by_stage])


def followed(hosts: Iterable[Host]) -> list[str]:
    """Return every selector that a host follows, once."""
    return sorted({selector for host in hosts for selector in host.selectors})


def how_to_ask(name: str, hosts: Sequence[Host], example: ExampleRequest) -> str:
    """Return the request that the model was tried with, for curl."""
    addresses = {host.name: host.public_url.replace("{name}", name) for host in hosts if host.public_url}
    # Which port it will have is not known before it serves.
    known = {host: address for host, address in addresses.items() if "{" not in address}
    host, address = next(iter(known.items()), ("", "ADDRESS"))
    metadata = json_in_lines(example.metadata).replace("'", "'\\''")
    # A generated recording is no file; a client has others.
    files = {part: example.sources.get(part, f"{part}.wav") for part in example.parts}
    parts = [f"-F {shlex.quote(f'{part}=@{file}')}" for part, file in files.items()]
    # Not -F for the metadata: curl would read a ; or a leading @ in it as a part of the option.
    lines = [f"curl {shlex.quote(f'{address}/predict')}", f"--form-string 'metadata={metadata}'", *parts]
    request = " \\\n       ".join(lines)
    notes = [
        f"The address is what {host} has said of itself; compare it with the tag before you send a patient's data."
    ]
    if not known:
        notes = ["ADDRESS is the address in the tag, if clients reach it; else ask the host's operators."]
    if example.parts.keys() - example.sources.keys():
        notes.append("The .wav files are recordings of your own; a model has no answer without those that it needs.")
    return "\n     ".join([f"     {request}", *notes]) if notes else f"     {request}"


def json_in_lines(metadata: Mapping[str, Any], width: int = 88) -> str:
    """Return a JSON object, in several lines where it is long; they are broken between its members only."""
    members = [json.dumps({key: value}, ensure_ascii=False)[1:-1] for key, value in metadata.items()]
    lines = [""]
    for number, member in enumerate(members, 1):
        piece = member if number == len(members) else f"{member}, "
        if lines[-1] and len(lines[-1]) + len(piece) > width:
            lines.append("")
        lines[-1] += piece
    return "{" + "\n         ".join(line.rstrip() for line in lines) + "}"


# ----------------------------------------------------------------------------------------- announce


API_VARIABLES = ("AUTH_ENDPOINT", "MODEL_CREATION_ENDPOINT", "ACCESS_USER", "ACCESS_KEY")
ANNOUNCE_SECONDS = 10
"""For the connection to the API, and again for each pause in its answer."""
ANSWER_MAX = 64 * 1024
"""Bytes of an answer that are read."""


@dataclass(frozen=True)
class SpiraApi:
    """Where the SPIRA API takes a login and new models, and who asks."""

    login: str
    creation: str
    user: str
    password: str


def announce_only(options: argparse.Namespace) -> None:
    """Tell the API of a model, and do nothing else. MLflow is not asked."""
    env_file = read_env_file(options.env_file)
    for key, value in env_file.items():
        os.environ.setdefault(key, value)
    api = spira_api()
    if api is None:
        why = f"none of {', '.join(API_VARIABLES)} is set"
        raise WrongUsageError("announce the model", why, "set them in .env or in the environment")
    name = ask_name() if options.name is None else options.name
    check_name(name)
    announce(api, name)


def spira_api() -> SpiraApi | None:
    """Return the API that the settings name; None where they name none. Half an API is refused."""
    values = {key: os.environ.get(key, "").strip() for key in API_VARIABLES}
    if not any(values.values()):
        return None
    missing = [key for key, value in values.items() if not value]
    if missing:
        why = f"{' and '.join(missing)} is not set, though {next(key for key in values if values[key])} is"
        raise WrongUsageError("announce the model", why, "set all four in .env, or none")
    for key in API_VARIABLES[:2]:
        check_api_address(key, values[key])
    return SpiraApi(*values.values())


def check_api_address(key: str, address: str) -> None:
    """Refuse what is no address, and one that would send the password over a network in plain text."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
    except ValueError:
        parts, host = urlsplit(""), ""
    what = f"use {key}"
    if parts.scheme not in ("http", "https") or not host:
        raise WrongUsageError(what, "it is not an http:// or https:// address", "mend it in .env")
    is_here = host == "localhost" or host.startswith("127.") or host == "::1"
    is_allowed = os.environ.get("SPIRA_PLAIN_HTTP", "").lower() in ("1", "true", "yes")
    if parts.scheme == "http" and not is_here and not is_allowed:
        why = f"the password would cross the network to {printable_line(host, 80)} in plain text"
        raise WrongUsageError(what, why, "use https://, or set SPIRA_PLAIN_HTTP=true if the network is yours alone")


def announce(api: SpiraApi, name: str) -> None:
    """Have the API know the model and the channel that it is asked at. To do it again does no harm."""
    channel = f"{name}-topic"
    form = {"username": api.user, "password": api.password}
    status, answer = ask_api(api.login, name, data=form)
    token = answer.get("access_token")
    if status in (400, 401, 403):
        raise not_announced(name, f"it refuses the login (HTTP {status})", "check ACCESS_USER and ACCESS_KEY")
    if status != 200:
        raise not_announced(name, f"its login answers with HTTP {status}", "check AUTH_ENDPOINT")
    if not isinstance(token, str) or not token.isprintable() or not token.isascii() or not token:
        raise not_announced(name, "its login answers without a token", "check AUTH_ENDPOINT")
    model = {"name": name, "publishing_channel": channel}
    status, answer = ask_api(api.creation, name, json=model, headers={"Authorization": f"Bearer {token}"})
    if 200 <= status < 300:
        print_line(f"announced {name} to the SPIRA API, with the channel {channel}")
        return
    words = printable_line(answer.get("detail", answer.get("message", "")), 200)
    if is_there_already(status, words):
        print_line(f"the SPIRA API knows {name} already")
        return
    said = f": {words}" if words else ""
    raise not_announced(
        name, f"it answers with HTTP {status}{said}", "check MODEL_CREATION_ENDPOINT and ask whoever runs the API"
    )


def is_there_already(status: int, words: str) -> bool:
    """Tell whether the API refuses a model because it has it; it has no status of its own for that."""
    if status == 409:
        return True
    is_refusal = 400 <= status < 500 and status not in (401, 403, 404, 405)
    return is_refusal and re.search(r"\b(already|exists?|registered|duplicated?)\b", words.lower()) is not None


def ask_api(address: str, name: str, **request: Any) -> tuple[int, dict[str, Any]]:
    """Send one POST to the API; return the status and what its JSON says, {} where it is no object."""
    import requests

    try:
        # A redirect would take the password to another server. An `auth` that does nothing keeps requests
        # from putting a login of ~/.netrc in the place of the token.
        with requests.post(
            address, timeout=ANNOUNCE_SECONDS, allow_redirects=False, stream=True, auth=lambda sent: sent, **request
        ) as answer:
            status = answer.status_code
            body = read_bounded(answer)
    except requests.exceptions.SSLError as error:
        why = f"its certificate is not trusted ({printable_line(error, 100)})"
        raise not_announced(name, why, "set REQUESTS_CA_BUNDLE to its authority") from error
    except requests.exceptions.Timeout as error:
        why = f"it does not answer within {ANNOUNCE_SECONDS} s"
        raise not_announced(name, why, "see whether it runs") from error
    except requests.exceptions.RequestException as error:
        raise not_announced(name, f"it cannot be reached ({type(error).__name__})", "see whether it runs") from error
    if 300 <= status < 400:
        raise not_announced(name, f"it sends on to another address (HTTP {status})", "put that address into .env")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    return status, document if isinstance(document, dict) else {}


def read_bounded(answer: Any) -> bytes:
    """Return the beginning of an answer, for as long as it comes in time."""
    ends = time.monotonic() + ANNOUNCE_SECONDS
    body = b""
    for piece in answer.iter_content(8192):
        body += piece
        if len(body) > ANSWER_MAX or time.monotonic() > ends:
            break
    return body[:ANSWER_MAX]


def not_announced(name: str, why: str, remedy: str) -> NotAnnouncedError:
    """Return the sentence for an API that does not take the model."""
    again = f"then run pipeline.py --announce-only --name {name}; what is registered in MLflow stays as it is"
    return NotAnnouncedError(f"announce {name} to the SPIRA API", why, f"{remedy}, {again}")


# -------------------------------------------------------------------------------------------- words


def print_line(line: str = "") -> None:
    """Print one line of progress."""
    try:
        sys.stdout.write(redact(line) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # That nobody reads it any more (`| head`) is no reason to stop half-way.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_warning(line: str) -> None:
    """Print one line that should be read although nothing failed."""
    print_error(f"warning: {line}")


def print_error(line: str) -> None:
    """Print one line to standard error."""
    sys.stderr.write(redact(line) + "\n")


def redact(text: str) -> str:
    """Remove user names and passwords from addresses, and the values of the secret settings."""
    text = re.sub(r"(?<=://)[^/\s'\"@]+@", "", text)
    for key, value in os.environ.items():
        is_secret = re.search(r"(PASSWORD|TOKEN|SECRET|ACCESS_KEY|ACCESS_KEY_ID)$", key)
        # A very short value is in many words; to replace it would garble every sentence.
        if is_secret and len(value) >= 4:
            text = text.replace(value, "***")
    return text


def printable_line(text: object, limit: int = 200) -> str:
    """Return one line of at most `limit` characters, without those that steer a terminal."""
    printable = "".join(c if c.isprintable() or c.isspace() else "?" for c in str(text))
    line = " ".join(printable.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def short_repr(value: Any) -> str:
    """Return a short repr; one that raises is the model's business, not a crash of ours."""
    try:
        return printable_line(repr(value), 80)
    except Exception as error:  # noqa: BLE001 - a user's __repr__ may raise anything
        return f"a {type(value).__name__} whose repr raises {type(error).__name__}"


def write_json(path: Path, value: Any) -> None:
    """Write strict JSON (no NaN), readable for people."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1)
    path.write_text(text + "\n", encoding="utf-8")


def human_size(size: int) -> str:
    """Return a size in bytes with its unit."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
