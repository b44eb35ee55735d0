"""The names of everything a deployment owns, derived from the model's name and nothing else."""

import re
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, NamedTuple, Self

from pydantic import Field, PlainValidator, StringConstraints

MAX_NAME = 64
_REMEMBERED = 2**14
"""Names whose meaning is remembered: the same thousands of them are read many times in each pass."""
# A dash may not come first: see `why_not_deployable`.
NAME_PATTERN = r"[a-zA-Z0-9_][a-zA-Z0-9_-]{0,63}"
RELEASE_PATTERN = r"[1-9][0-9]{0,9}\.[0-9a-f]{8}"
ENVIRONMENT_PATTERN = r"[0-9a-f]{32}"
HOST_ENVIRONMENT = "host"
"""In place of an environment's digest: the product's own environment."""
MAX_VERSION = 9_999_999_999
"""Ten digits: what the patterns of names have room for."""

DeployableName = Annotated[str, StringConstraints(pattern=rf"^{NAME_PATTERN}$")]
Version = Annotated[int, Field(ge=1, le=MAX_VERSION)]
"""The number of a model version in a document."""


class ReleaseId(str):
    """The name of a release: `<version>.<digest of its parameters>`, such as `3.1a2b3c4d`.

    `Release.id` makes one, and `parse` reads one, so that a ReleaseId is well-formed wherever it is.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> Self | None:
        """Read a release's name; None when it is none."""
        is_release = isinstance(text, str) and _RELEASE.fullmatch(text) is not None
        return cls(text) if is_release else None

    @property
    def version(self) -> int:
        """The model version."""
        version, _, _ = self.partition(".")
        return int(version)


def _release_id(value: object) -> ReleaseId:
    release = ReleaseId.parse(value)
    if release is None:
        raise ValueError("should be a release, such as 3.1a2b3c4d")
    return release


StrictReleaseId = Annotated[ReleaseId, PlainValidator(_release_id)]
"""A release's name in a document."""


class Step(StrEnum):
    """What is done for a release before it can start, each by a unit of its own."""

    FETCH = "fetch"
    BUILD = "build"
    VERIFY = "verify"


class ServerUnit(NamedTuple):
    """What the name of a server unit says."""

    name: str
    release: ReleaseId
    replica: int


class StepUnit(NamedTuple):
    """What the name of a fetch or verify unit says."""

    step: Step
    name: str
    version: int


class WatchUnit(NamedTuple):
    """What the name of a unit says that notices changes of files."""

    name: str
    version: int


class _Meaning(NamedTuple):
    """What the name of a unit says."""

    what: ServerUnit | StepUnit | WatchUnit | None = None
    of_deployment: str | None = None
    socket: str | None = None
    bridge: str | None = None
    compose: str | None = None
    slice: str | None = None
    build: str | None = None


_ANYBODYS = _Meaning()
MAX_REPLICAS = 99
"""A replica's number has two digits at most in a unit's name."""
_ESCAPED_DASH = r"\x2d"

# No name has a character that a unit file, a path or a shell reads as anything but itself, except in slices.
# Each pattern is the inverse of one function below: what it takes, that function can have made, and nothing else. The
# first group is the deployment's name, except in _STEP and _BUILD.
_RELEASE = re.compile(RELEASE_PATTERN)
_NAME = re.compile(NAME_PATTERN)
_SERVER = re.compile(rf"model-({NAME_PATTERN})@({RELEASE_PATTERN})(?:\.([2-9]|[1-9][0-9]))?\.service")
_SOCKET = re.compile(rf"model-({NAME_PATTERN})\.socket")
_STEP = re.compile(rf"mlflow-(fetch|verify)@({NAME_PATTERN})\.([1-9][0-9]{{0,9}})\.service")
_WATCH = re.compile(rf"mlflow-verify@({NAME_PATTERN})\.([1-9][0-9]{{0,9}})\.path")
_COMPILED = "mlflow-compiled@"
_CHANGED = re.compile(rf"mlflow-changed@({NAME_PATTERN})\.[1-9][0-9]{{0,9}}\.service")
_SLICE = re.compile(r"model-((?:[a-zA-Z0-9_]|\\x2d)+)\.slice")
_BUILD = re.compile(rf"mlflow-build@({ENVIRONMENT_PATTERN})\.service")
_COMPOSE = re.compile(rf"docker-compose-model@({NAME_PATTERN})\.service")
_BRIDGE = re.compile(rf"nats-bridge@({NAME_PATTERN})\.service")

# What systemd is asked for: all units that `is_ours` may be true of, and few others.
UNIT_GLOBS = (
    "model-*.service",
    "model-*.socket",
    "model-*.slice",
    "mlflow-fetch@*",
    "mlflow-build@*",
    "mlflow-verify@*",
    "mlflow-changed@*",
    "nats-bridge@*",
    "docker-compose-model@*",
)


def why_not_deployable(name: str) -> str | None:
    """Say what is wrong with a registered model's name as a name on this host; None when it is fine.

    A name becomes a part of unit names, paths and command lines. MLflow takes almost any text; those that would need
    quoting somewhere are refused instead.
    """
    if _NAME.fullmatch(name):
        return None
    # The first reason that fits is told; a name may have several.
    if len(name) > MAX_NAME:
        return f"the name has {len(name)} characters, and at most {MAX_NAME} can be deployed"
    if name.startswith("-"):
        # It would be an option of the programs that get it as an argument.
        return "the name starts with '-'"
    return "the name has characters other than letters, digits, '_' and '-'"


def server_unit(name: str, release: str, replica: int = 1) -> str:
    """Name the service that runs one release, such as `model-demo@3.1a2b3c4d.service`.

    Further replicas have a number, from 2 on: `model-demo@3.1a2b3c4d.2.service`. The first has none, so that a release
    keeps the unit that it has when replicas are added.
    """
    number = f".{replica}" if replica > 1 else ""
    return f"model-{name}@{release}{number}.service"


def socket_unit(name: str) -> str:
    """Name the socket that every release of a deployment shares, such as `model-demo.socket`.

    It is named after the deployment alone: it stays when releases come and go.
    """
    return f"model-{name}.socket"


def slice_unit(name: str) -> str:
    """Name the deployment's slice, such as `model-demo.slice`.

    In the name of a slice a plain `-` means "within": `model-a-b.slice` would be a part of model a's slice, and share
    its limits. So it is escaped.
    """
    escaped = name.replace("-", _ESCAPED_DASH)
    return f"model-{escaped}.slice"


def fetch_unit(name: str, version: int) -> str:
    """Name the unit that downloads one model version, such as `mlflow-fetch@demo.3.service`.

    Its file marks that the version's directory may exist: the directory goes before the file does.
    """
    return f"mlflow-fetch@{name}.{version}.service"


def verify_unit(name: str, version: int) -> str:
    """Name the unit that compares a fetched model version with its recorded digests.

    Such as `mlflow-verify@demo.3.service`.
    """
    return f"mlflow-verify@{name}.{version}.service"


def watch_unit(name: str, version: int) -> str:
    """Name the unit that notices changes of a fetched model version's files, such as `mlflow-verify@demo.3.path`."""
    return f"mlflow-verify@{name}.{version}.path"


def changed_unit(name: str, version: int) -> str:
    """Name the instance of a shipped unit that the watch starts, such as `mlflow-changed@demo.3.service`.

    It is active from a change of files on until it is stopped. So the change is remembered while nobody looks.
    """
    return f"mlflow-changed@{name}.{version}.service"


def build_unit(environment: str) -> str:
    """Name the unit that builds an environment, such as `mlflow-build@<its digest>.service`.

    Its file marks that the environment's directory may exist. It belongs to no deployment: several may need the same.
    """
    return f"mlflow-build@{environment}.service"


def bridge_unit(name: str) -> str:
    """Name the service that answers a deployment's requests over NATS, such as `nats-bridge@demo.service`.

    It asks whichever release serves, so it is named after the deployment alone.
    """
    return f"nats-bridge@{name}.service"


def compose_unit(name: str) -> str:
    """Name the service that stands for a model's containers, such as `docker-compose-model@demo.service`.

    Before there was this product people made it by hand; such a one is somebody else's.
    """
    return f"docker-compose-model@{name}.service"


def temp_instance(server: str, size: int) -> str:
    """Name a server's temporary files, of at most so many bytes: `1073741824.model-demo@3.1a2b3c4d`.

    The size is in the name, since the shipped unit gets nothing else.
    """
    return f"{size}.{server.removesuffix('.service')}"


def temp_unit(server: str, size: int) -> str:
    """Name the instance of a shipped unit that is active as long as a server's temporary files are there."""
    return f"mlflow-temp@{temp_instance(server, size)}.service"


def compiled_unit(server: str, size: int) -> str:
    """Name the instance of a shipped unit that keeps what a server compiled before it was ready.

    It finds that among the server's temporary files, of which it has the name.
    """
    return f"{_COMPILED}{temp_instance(server, size)}.service"


def keeps_compiled(unit: str) -> bool:
    """Tell whether a unit's name is one of `compiled_unit`."""
    return unit.startswith(_COMPILED)


def directory_unit(name: str) -> str:
    """Name the instance of a shipped unit through which systemd removes a deployment's directory."""
    return f"mlflow-deploy-directory@{name}.service"


def parse_server(unit: str) -> ServerUnit | None:
    """Read the name of a server unit; None for other units."""
    what = _meaning(unit).what
    return what if isinstance(what, ServerUnit) else None


def parse_socket(unit: str) -> str | None:
    """Read the deployment's name from the name of its socket; None for other units."""
    return _meaning(unit).socket


def parse_step(unit: str) -> StepUnit | None:
    """Read the name of a fetch or verify unit; None for other units.

    A build is no such step: it is of an environment and not of a version.
    """
    what = _meaning(unit).what
    return what if isinstance(what, StepUnit) else None


def parse_watch(unit: str) -> WatchUnit | None:
    """Read the name of a unit that notices changes; None for other units."""
    what = _meaning(unit).what
    return what if isinstance(what, WatchUnit) else None


def parse_bridge(unit: str) -> str | None:
    """Read the deployment's name from the name of its bridge to NATS; None for other units."""
    return _meaning(unit).bridge


def parse_compose(unit: str) -> str | None:
    """Read the deployment's name from the name of its unit for docker compose; None for other units."""
    return _meaning(unit).compose


def parse_slice(unit: str) -> str | None:
    """Read the deployment's name from the name of its slice; None for other units."""
    return _meaning(unit).slice


def parse_build(unit: str) -> str | None:
    """Read the environment's digest from the name of a build unit; None for other units."""
    return _meaning(unit).build


def deployment_of(unit: str) -> str | None:
    """Read which deployment a unit belongs to.

    None for the units that deployments share, such as builds, and for everybody else's. A unit's name decides this by
    itself, so that it is known of units whose files are gone, too.
    """
    return _meaning(unit).of_deployment


def is_ours(unit: str) -> bool:
    """Tell whether a unit name is one that the reconciler may own.

    Whether it does own the unit, the mark in its file says; a name alone is anybody's.
    """
    # Of somebody else's name there is one meaning only.
    return _meaning(unit) is not _ANYBODYS


@lru_cache(maxsize=_REMEMBERED)
def _meaning(unit: str) -> _Meaning:
    # No two of the patterns take the same name.
    if match := _SERVER.fullmatch(unit):
        name, release, replica = match.groups()
        return _Meaning(ServerUnit(name, ReleaseId(release), int(replica or 1)), name)
    if match := _STEP.fullmatch(unit):
        step, name, version = match.groups()
        return _Meaning(StepUnit(Step(step), name, int(version)), name)
    if match := _WATCH.fullmatch(unit):
        name, version = match.groups()
        return _Meaning(WatchUnit(name, int(version)), name)
    return _named_after_a_deployment(unit)


def _named_after_a_deployment(unit: str) -> _Meaning:
    if match := _SOCKET.fullmatch(unit):
        return _Meaning(of_deployment=match[1], socket=match[1])
    if match := _CHANGED.fullmatch(unit):
        return _Meaning(of_deployment=match[1])
    if match := _BRIDGE.fullmatch(unit):
        return _Meaning(of_deployment=match[1], bridge=match[1])
    if match := _COMPOSE.fullmatch(unit):
        return _Meaning(of_deployment=match[1], compose=match[1])
    if match := _BUILD.fullmatch(unit):
        return _Meaning(build=match[1])
    of_slice = _deployment_of_slice(unit)
    return _Meaning(of_deployment=of_slice, slice=of_slice) if of_slice else _ANYBODYS


def _deployment_of_slice(unit: str) -> str | None:
    match = _SLICE.fullmatch(unit)
    if match is None:
        return None
    name = match[1].replace(_ESCAPED_DASH, "-")
    # Only after the replacement can be seen whether it begins with a dash or is too long.
    return name if _NAME.fullmatch(name) else None
