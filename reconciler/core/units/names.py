"""The names of everything a deployment owns, derived from the model's name and nothing else."""

import re
from enum import StrEnum
from typing import Annotated, NamedTuple, Self

from pydantic import Field, PlainValidator, StringConstraints

MAX_NAME = 64
NAME_PATTERN = r"[a-zA-Z0-9_][a-zA-Z0-9_-]{0,63}"
RELEASE_PATTERN = r"[1-9][0-9]{0,9}\.[0-9a-f]{8}"
ENVIRONMENT_PATTERN = r"[0-9a-f]{32}"
HOST_ENVIRONMENT = "host"
MAX_VERSION = 9_999_999_999
"""Ten digits: what the patterns of names have room for."""

DeployableName = Annotated[str, StringConstraints(pattern=rf"^{NAME_PATTERN}$")]
Version = Annotated[int, Field(ge=1, le=MAX_VERSION)]
"""The number of a model version in a document."""


class ReleaseId(str):
    """The name of a release: `<version>.<digest of its parameters>`."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: object) -> Self | None:
        """Read a release's name; None when it is none."""
        return cls(text) if isinstance(text, str) and _RELEASE.fullmatch(text) else None

    @property
    def version(self) -> int:
        """The model version."""
        return int(self.partition(".")[0])


def _release_id(value: object) -> ReleaseId:
    if (release := ReleaseId.parse(value)) is None:
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


_RELEASE = re.compile(RELEASE_PATTERN)
_NAME = re.compile(NAME_PATTERN)
MAX_REPLICAS = 99
_SERVER = re.compile(rf"model-({NAME_PATTERN})@({RELEASE_PATTERN})(?:\.([2-9]|[1-9][0-9]))?\.service")
_SOCKET = re.compile(rf"model-({NAME_PATTERN})\.socket")
_STEP = re.compile(rf"mlflow-(fetch|verify)@({NAME_PATTERN})\.([1-9][0-9]{{0,9}})\.service")
_WATCH = re.compile(rf"mlflow-verify@({NAME_PATTERN})\.([1-9][0-9]{{0,9}})\.path")
_CHANGED = re.compile(rf"mlflow-changed@({NAME_PATTERN})\.[1-9][0-9]{{0,9}}\.service")
_SLICE = re.compile(r"model-((?:[a-zA-Z0-9_]|\\x2d)+)\.slice")
_BUILD = re.compile(rf"mlflow-build@({ENVIRONMENT_PATTERN})\.service")

UNIT_GLOBS = (
    "model-*.service",
    "model-*.socket",
    "model-*.slice",
    "mlflow-fetch@*",
    "mlflow-build@*",
    "mlflow-verify@*",
    "mlflow-changed@*",
)


def why_not_deployable(name: str) -> str | None:
    """Say what is wrong with a registered model's name as a name on this host; None when it is fine."""
    if _NAME.fullmatch(name):
        return None
    if len(name) > MAX_NAME:
        return f"the name has {len(name)} characters; at most {MAX_NAME} can be deployed"
    if name.startswith("-"):
        return "the name starts with '-'"
    return "the name has characters other than letters, digits, '_' and '-'"


def server_unit(name: str, release: str, replica: int = 1) -> str:
    """Name the service that runs one release; further replicas of it have a number, from 2 on."""
    return f"model-{name}@{release}{f'.{replica}' if replica > 1 else ''}.service"


def socket_unit(name: str) -> str:
    """Name the socket that every release of a deployment shares."""
    return f"model-{name}.socket"


def slice_unit(name: str) -> str:
    """Name the deployment's slice; a plain '-' would nest it in another model's slice, so it is escaped."""
    return f"model-{name.replace('-', chr(92) + 'x2d')}.slice"


def fetch_unit(name: str, version: int) -> str:
    """Name the unit that downloads one model version, and whose file marks that its directory may exist."""
    return f"mlflow-fetch@{name}.{version}.service"


def verify_unit(name: str, version: int) -> str:
    """Name the unit that compares a fetched model version with its recorded digests."""
    return f"mlflow-verify@{name}.{version}.service"


def watch_unit(name: str, version: int) -> str:
    """Name the unit that notices changes of a fetched model version's files."""
    return f"mlflow-verify@{name}.{version}.path"


def changed_unit(name: str, version: int) -> str:
    """Name the instance of a shipped unit that is active from such a change on, until it is stopped."""
    return f"mlflow-changed@{name}.{version}.service"


def build_unit(environment: str) -> str:
    """Name the unit that builds an environment, and whose file marks that its directory may exist."""
    return f"mlflow-build@{environment}.service"


def temp_instance(server: str, size: int) -> str:
    """Name a server's temporary files, of at most so many bytes."""
    return f"{size}.{server.removesuffix('.service')}"


def temp_unit(server: str, size: int) -> str:
    """Name the instance of a shipped unit that is active as long as these are there."""
    return f"mlflow-temp@{temp_instance(server, size)}.service"


def directory_unit(name: str) -> str:
    """Name the shipped unit through which systemd removes a deployment's directory."""
    return f"mlflow-deploy-directory@{name}.service"


def parse_server(unit: str) -> ServerUnit | None:
    """Read the name of a server unit; None for other units."""
    match = _SERVER.fullmatch(unit)
    return ServerUnit(match[1], ReleaseId(match[2]), int(match[3] or 1)) if match else None


def parse_socket(unit: str) -> str | None:
    """Read the name from a socket unit's name."""
    match = _SOCKET.fullmatch(unit)
    return match[1] if match else None


def parse_step(unit: str) -> StepUnit | None:
    """Read the name of a fetch or verify unit; None for other units."""
    match = _STEP.fullmatch(unit)
    return StepUnit(Step(match[1]), match[2], int(match[3])) if match else None


def parse_watch(unit: str) -> WatchUnit | None:
    """Read the name of a unit that notices changes; None for other units."""
    match = _WATCH.fullmatch(unit)
    return WatchUnit(match[1], int(match[2])) if match else None


def parse_slice(unit: str) -> str | None:
    """Read the name from a slice unit's name."""
    match = _SLICE.fullmatch(unit)
    name = match[1].replace(chr(92) + "x2d", "-") if match else ""
    return name if _NAME.fullmatch(name) else None


def parse_build(unit: str) -> str | None:
    """Read the environment's digest from a build unit's name."""
    match = _BUILD.fullmatch(unit)
    return match[1] if match else None


def deployment_of(unit: str) -> str | None:
    """Read which deployment a unit belongs to; None for what deployments share and for everybody else's units."""
    if server := parse_server(unit):
        return server.name
    if step := parse_step(unit):
        return step.name
    if changes := _WATCH.fullmatch(unit) or _CHANGED.fullmatch(unit):
        return changes[1]
    return parse_socket(unit) or parse_slice(unit)


def is_ours(unit: str) -> bool:
    """Tell whether a unit name is one that the reconciler may own."""
    return deployment_of(unit) is not None or parse_build(unit) is not None
