"""Looks over what running models in containers needs of the host: an engine, docker compose, an image."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from reconciler.check.host import Finding
from reconciler.core.state.release import COMPOSE
from reconciler.core.units import paths
from reconciler.settings.model import Settings

_PATIENCE = 30
_PACKAGES = {"docker": "docker.io", "podman": "podman"}
_PODMAN_INITS = ("/usr/libexec/podman/catatonit", "/usr/lib/podman/catatonit", "/usr/bin/catatonit")
_UNITS = {"docker": "docker.service", "podman": "podman.socket"}


def may_be_used(settings: Settings) -> bool:
    """Whether a model may run in containers on this host."""
    return settings.deploy.runtime == COMPOSE or COMPOSE in settings.policy.runtimes


def findings(settings: Settings) -> Iterator[Finding]:
    """Find what is missing where models may run in containers."""
    if not may_be_used(settings):
        return
    compose = settings.compose
    if not compose.image and not compose.base:
        yield Finding(
            "models may run in containers (policy.runtimes), and nobody said of which image",
            "set compose.image or compose.base, or take compose out of policy.runtimes",
        )
    socket = paths.ENGINE_SOCKETS[compose.engine]
    if not Path(socket).is_socket():
        package, unit = _PACKAGES[compose.engine], _UNITS[compose.engine]
        yield Finding(
            f"{compose.engine} is not there: {socket} is no socket (compose.engine)",
            f"apt-get install {package} && systemctl enable --now {unit}",
        )
    has_init = any(Path(place).exists() for place in _PODMAN_INITS)
    if compose.engine == "podman" and not has_init:
        yield Finding("podman has no init for containers", "apt-get install catatonit")
    if not any(_answers([*words, "version"]) for words in paths.COMPOSE_COMMANDS):
        yield Finding("docker compose is not there", "apt-get install docker-compose")
    image = compose.image or compose.base
    command = shutil.which(compose.engine)
    if image and command and not _answers([command, "image", "inspect", image]):
        yield Finding(
            f"{compose.engine} does not have the image {image}",
            f"{compose.engine} pull it or load it, or name another one in [compose]",
        )


def _answers(command: Sequence[str]) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, timeout=_PATIENCE, check=False)  # noqa: S603 - of ours
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0
