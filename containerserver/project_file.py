"""Renders docker-compose.server.yml from its template and from what one server is told."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateError, Undefined

from containerserver.engine import Image
from containerserver.options import OWN_SOCKET, Limits, Options
from containerserver.yaml_text import yaml_text
from modelserver.errors import CannotServeError, one_line

FILE = "docker-compose.server.yml"
_TEMPLATE = f"compose/{FILE}.j2"
_HEALTH = (
    "import socket; s = socket.socket(socket.AF_UNIX); s.settimeout(4); s.connect('{socket}'); "
    "s.sendall(b'GET /ping HTTP/1.0\\r\\n\\r\\n'); assert b' 200 ' in s.recv(64)"
)


def render(options: Options, image: Image, secret: Iterable[str]) -> str:
    """Return the text of the file for an image of the engine. Raises CannotServeError.

    `secret`: names of variables whose values compose is given in its own environment, and nobody else.
    """
    environment = Environment(
        loader=FileSystemLoader(options.templates),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - YAML is not HTML; the next line is to it what escaping is to HTML
        finalize=_finalized,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    try:
        return environment.get_template(_TEMPLATE).render(values(options, image, secret))
    except (TemplateError, TypeError, OSError) as error:
        raise CannotServeError(
            f"cannot render {FILE}: {one_line(str(error))}; mend the template {_TEMPLATE}"
        ) from error


def _finalized(value: object) -> str:
    """Write a value; one that is not there raises UndefinedError, with its name."""
    return yaml_text(str(value) if isinstance(value, Undefined) else value)


def values(options: Options, image: Image, secret: Iterable[str] = ()) -> dict[str, object]:
    """Return what the template is given."""
    limits = options.limits
    return {
        "name": options.project.name,
        "version": options.version,
        "release": options.project.release,
        "project": options.project.id,
        "labels": options.project.labels,
        "image": image.id,
        "command": own_command(options) if options.own else list(options.command),
        "healthcheck": _own_health(options),
        "user": options.user,
        "network": options.network,
        "environment": {**options.environment, **dict.fromkeys(secret)},
        "shown": [str(path) for path in options.own.shown] if options.own else [],
        "tmpfs": _tmpfs(limits, options.http_socket, image.volumes),
        "memory": limits.memory,
        # The engine refuses more than there are.
        "cpus": min(limits.cpu / 100, os.cpu_count() or 1),
        "tasks": limits.tasks,
        "grace": f"{max(1, options.served.drain_limit)}s",
    }


def own_command(options: Options) -> list[str]:
    """Return the command line of our own server in a container. It proves that it answers, and has no other task."""
    own, served = options.own, options.served
    if own is None:
        return []
    return [
        *(f"{own.venv}/bin/python", "-I", "-m", "modelserver", "serve"),
        *("--model-dir", str(own.model_dir), "--name", options.project.name, "--version", options.version),
        *("--release", options.project.release, "--bind", f"unix:{OWN_SOCKET}"),
        *("--max-body", str(served.max_body), "--request-timeout", str(served.request_timeout)),
        *(("--batch",) if served.batch else ()),
        *(() if served.try_page else ("--no-try-page",)),
        *(() if options.network == "none" else ("--network", "0.0.0.0/0", "--network", "::/0")),
    ]


def write(options: Options, text: str) -> Path:
    """Write the file into the server's directory, where anybody may read it: there is no secret in it."""
    path = options.directory / FILE
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.chmod(0o644)
    os.replace(part, path)  # noqa: PTH105 - atomic, as everywhere here
    return path


def path_of(directory: Path) -> Path:
    """Return where a server's file is."""
    return directory / FILE


def _own_health(options: Options) -> Sequence[str]:
    """Return the command by which the engine asks our own server; an image named by people brings its own or none."""
    if options.own is None:
        return ()
    return [f"{options.own.venv}/bin/python", "-I", "-S", "-c", _HEALTH.format(socket=OWN_SOCKET)]


def _tmpfs(limits: Limits, http_socket: str, volumes: Iterable[str]) -> list[str]:
    """Return what a container may write to: memory of its own, of a size; also where the image declares volumes."""
    found = [f"{path}:mode=1777,size={limits.temp}" for path in dict.fromkeys(("/tmp", *volumes))]  # noqa: S108 - in the container
    if http_socket:
        found.append(f"{Path(http_socket).parent}:mode=1777,size=65536")
    return found
