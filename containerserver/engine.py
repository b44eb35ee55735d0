"""The container engine of the host, Docker or Podman, as far as it is asked by its own API; compose does the rest."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import docker
import requests
from docker.errors import DockerException, ImageNotFound, NotFound

from containerserver.names import PROJECT_LABEL, SERVICE_LABEL, Project
from modelserver.errors import CannotServeError, one_line
from reconciler.core.units.status_lines import CANNOT_REACH_ENGINE

_PATIENCE = 60
"""Seconds for one answer of the engine."""


class EngineError(Exception):
    """The engine does not answer, or not as it should; the message is the whole sentence."""


class Image(NamedTuple):
    """An image that the engine has."""

    id: str
    volumes: tuple[str, ...]
    """Paths for which the engine would make volumes on its disk."""


class State(NamedTuple):
    """A container as the engine sees it."""

    is_running: bool
    health: str
    """`starting`, `healthy` or `unhealthy`; "" where nothing asks it."""
    pid: int
    exit_code: int
    is_out_of_memory: bool


class Engine:
    """The engine behind one socket. Its methods raise EngineError where it does not answer."""

    def __init__(self, path: Path) -> None:
        """Connect."""
        self.path = path
        with self._asked():
            self._client = docker.DockerClient(base_url=f"unix://{path}", timeout=_PATIENCE)
        self.ping()

    def ping(self) -> None:
        """Find out whether it answers."""
        with self._asked():
            self._client.ping()

    def image(self, reference: str) -> Image:
        """Return an image that is here. Raises CannotServeError: nothing is downloaded."""
        with self._asked():
            try:
                found = self._client.images.get(reference)
                return Image(str(found.id), tuple((found.attrs.get("Config") or {}).get("Volumes") or ()))
            except ImageNotFound:
                raise CannotServeError(
                    f"cannot use the image {one_line(reference)}: this host does not have it; "
                    "load it (docker load, docker pull), or name another one in [compose] of the settings"
                ) from None

    def container(self, project: Project) -> "Container":
        """Return the container of a server that compose has brought up."""
        with self._asked():
            labels = [f"{PROJECT_LABEL}={project.id}", f"{SERVICE_LABEL}={project.name}"]
            found = self._client.containers.list(all=True, filters={"label": labels})
            if not found:
                raise EngineError(f"cannot find the container of {project.name}@{project.release}: somebody removed it")
            return Container(found[0].id, self._client, self._asked)

    def has_any_of(self, project: Project) -> bool:
        """Whether anything of a server is here that compose made."""
        mine = {"label": f"{PROJECT_LABEL}={project.id}"}
        with self._asked():
            containers = self._client.containers.list(all=True, filters=mine)
            return bool(containers or self._client.networks.list(filters=mine))

    def remove_all_of(self, project: Project) -> None:
        """Kill and remove the containers of a server, and remove its networks."""
        mine = {"label": f"{PROJECT_LABEL}={project.id}"}
        with self._asked():
            for container in self._client.containers.list(all=True, filters=mine):
                with contextlib.suppress(NotFound):
                    container.remove(force=True, v=True)
            for network in self._client.networks.list(filters=mine):
                with contextlib.suppress(NotFound):
                    network.remove()

    @contextlib.contextmanager
    def _asked(self) -> Iterator[None]:
        try:
            yield
        except (DockerException, requests.RequestException, OSError) as error:
            why = one_line(str(error)) or type(error).__name__
            raise EngineError(
                f"{CANNOT_REACH_ENGINE} at {self.path}: {why}; see systemctl status docker podman"
            ) from error


class Container:
    """One container."""

    def __init__(self, id_: str, client: Any, asked: Callable[[], "contextlib.AbstractContextManager[None]"]) -> None:
        """A container of an engine; `asked` is around each question to it."""
        self.id = id_
        self._client = client
        self._asked = asked

    def state(self) -> State:
        """Ask how it is."""
        with self._asked():
            state = self._client.api.inspect_container(self.id)["State"]
        health = str((state.get("Health") or {}).get("Status") or "")
        return State(
            is_running=bool(state.get("Running")),
            health="" if health == "none" else health,
            pid=int(state.get("Pid") or 0),
            exit_code=int(state.get("ExitCode") or 0),
            is_out_of_memory=bool(state.get("OOMKilled")),
        )

    def wait(self) -> State:
        """Wait until it has ended."""
        with self._asked():
            self._client.api.wait(self.id, timeout=None)
        return self.state()

    def output(self) -> Iterator[bytes]:
        """Yield what it writes, from its start until it ends."""
        with self._asked():
            yield from self._client.api.logs(self.id, stdout=True, stderr=True, stream=True, follow=True)
