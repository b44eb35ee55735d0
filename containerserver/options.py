"""The options of the command line, as the units of the runtime `compose` have them."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from containerserver.names import Project
from modelserver.http import peers
from reconciler.core.units.paths import ENGINE_SOCKETS

OWN_SOCKET = "/run/model/http.sock"
"""Where our own server listens in a container: in memory of the container's, to which nobody else writes."""


@dataclass(frozen=True)
class Limits:
    """What a container may take: bytes, percent of one CPU, processes. 0 is no limit."""

    memory: int = 0
    cpu: int = 0
    tasks: int = 0
    temp: int = 0


@dataclass(frozen=True)
class Own:
    """What our own server in a container is made of, beside its image: the release's files, as they are on the host."""

    model_dir: Path
    venv: Path
    shown: tuple[Path, ...]
    """Directories that the container sees, at the paths that they have on the host, and cannot change."""


@dataclass(frozen=True)
class Options:
    """What one server is told."""

    project: Project
    version: str
    engine: Path
    """The socket of the engine."""
    directory: Path
    """Where docker-compose.server.yml is written."""
    templates: tuple[Path, ...]
    image: str
    own: Own | None
    """Set where our own server runs in the image, which is a base for it then."""
    http_socket: str
    """Where a container speaks HTTP, in the container; "" where it does not."""
    command: tuple[str, ...]
    user: str
    network: str
    limits: Limits
    environment: dict[str, str]
    asks_itself: bool
    """Whether the image takes its requests from a broker and its recordings from a bucket by itself."""
    broker: str
    """The broker's address; "" for none."""
    served: argparse.Namespace
    """How requests are served; the names are those of `modelserver serve`."""

    @property
    def release(self) -> str:
        """As answers carry it."""
        return f"{self.project.name}@{self.project.release}"


def parse(arguments: list[str] | None = None) -> tuple[str, argparse.Namespace]:
    """Read the command line; gives the command and what it is told. Ends the process with 2 where it is wrong."""
    parser = argparse.ArgumentParser(prog="containerserver", description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    serve = commands.add_parser("serve", help="bring containers up, serve, take them down", allow_abbrev=False)
    _add_project(serve)
    _add_containers(serve)
    _add_serving(serve)
    down = commands.add_parser("down", help="take down what a server has left", allow_abbrev=False)
    _add_project(down)
    given = parser.parse_args(arguments)
    return given.what, given


def project_of(given: argparse.Namespace) -> Project:
    """Return which server the command is for."""
    return Project(given.name, given.release, given.replica)


def engine_of(given: argparse.Namespace) -> Path:
    """Return the socket of the engine."""
    return Path(ENGINE_SOCKETS[given.engine])


def server_options(given: argparse.Namespace) -> Options:
    """Make what `serve` is told out of its command line."""
    own = None
    if given.base:
        own = Own(given.model_dir, given.venv, tuple(given.show))
    return Options(
        project=project_of(given),
        version=given.version,
        engine=engine_of(given),
        directory=given.directory,
        templates=tuple(given.templates),
        image=given.image or given.base,
        own=own,
        http_socket=OWN_SOCKET if own else given.http_socket,
        command=tuple(given.command),
        user=given.user,
        network=given.network,
        limits=Limits(given.memory, given.cpu, given.tasks, given.temp),
        environment=dict(given.env),
        asks_itself=given.asks_itself,
        broker=given.broker,
        served=given,
    )


def _add_project(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--name", required=True, help="the deployment")
    add("--engine", choices=tuple(ENGINE_SOCKETS), default="docker")
    add("--release", required=True)
    add("--replica", type=int, default=1)
    add("--directory", type=Path, required=True, help="where docker-compose.server.yml is")


def _add_containers(serve: argparse.ArgumentParser) -> None:
    add = serve.add_argument
    add("--version", required=True)
    add("--templates", type=Path, action="append", required=True, help="directories of templates; the first one wins")
    image = serve.add_mutually_exclusive_group(required=True)
    image.add_argument("--image", default="", help="NAME@sha256:… or sha256:…, which the engine has")
    image.add_argument("--base", default="", help="the same of an image with Python, for our own server")
    add("--model-dir", type=Path, help="with --base: the model")
    add("--venv", type=Path, help="with --base: its environment")
    add("--show", type=Path, action="append", default=[], metavar="DIRECTORY", help="with --base: what it sees of here")
    add("--http-socket", default="", help="where the container speaks HTTP; none: it does not")
    add("--command", action="append", default=[], metavar="WORD")
    add("--user", required=True, metavar="UID:GID")
    add("--network", default="none", help="none, host, or bridge")
    add("--memory", type=int, default=0, metavar="BYTES")
    add("--cpu", type=int, default=0, metavar="PERCENT")
    add("--tasks", type=int, default=0)
    add("--temp", type=int, default=0, metavar="BYTES", help="of /tmp")
    add("--env", type=_variable, action="append", default=[], metavar="NAME=VALUE")
    add("--asks-itself", action="store_true", help="the image takes requests from a broker, and has the host's logins")
    add("--broker", default="", metavar="URL")


def _add_serving(serve: argparse.ArgumentParser) -> None:
    add = serve.add_argument
    add("--sockets", type=int, default=1, metavar="COUNT", help="how many must be inherited")
    add("--peers", type=peers.network, action="append", default=[], metavar="CIDR")
    add("--max-body", type=int, default=64 * 1024**2, metavar="BYTES")
    add("--max-connections", type=int, default=1000, metavar="COUNT")
    add("--request-timeout", type=float, default=60.0, metavar="SECONDS")
    add("--header-timeout", type=float, default=10.0, metavar="SECONDS")
    add("--batch", action="store_true", help="with --base: answer tables that wait with one prediction")
    add("--no-try-page", action="store_false", dest="try_page", help="with --base: no page to try the model")
    add("--soak", type=int, default=0, metavar="SECONDS")
    add("--idle-timeout", type=int, default=0, metavar="SECONDS")
    add("--drain-grace", type=float, default=1.0, metavar="SECONDS")
    add("--drain-limit", type=int, default=20, metavar="SECONDS")


def _variable(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found or not name:
        raise argparse.ArgumentTypeError("should be NAME=VALUE")
    return name, value
