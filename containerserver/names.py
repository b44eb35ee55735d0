"""What things in the engine are called, and the labels by which they are found again."""

import hashlib
import re
from dataclasses import dataclass

DEPLOYMENT_LABEL = "org.mlflow-systemd.deployment"
RELEASE_LABEL = "org.mlflow-systemd.release"
PROJECT_LABEL = "com.docker.compose.project"
SERVICE_LABEL = "com.docker.compose.service"
"""Compose's own, on each container, network and volume."""


@dataclass(frozen=True)
class Project:
    """The containers of one server, which compose calls a project."""

    name: str
    """The deployment."""
    release: str
    replica: int = 1

    @property
    def id(self) -> str:
        """Name it to compose, which takes lower-case letters, digits, `-` and `_` only: `A` and `a` get two names."""
        whole = f"{self.name}@{self.release}.{self.replica}"
        return f"{_lower(self.name)}-{hashlib.sha256(whole.encode()).hexdigest()[:12]}"

    @property
    def labels(self) -> dict[str, str]:
        """What marks everything that is made for it."""
        return {DEPLOYMENT_LABEL: self.name, RELEASE_LABEL: self.release}


def _lower(name: str) -> str:
    """A name's letters in lower case, with `-` for what may not be everywhere; begins with a letter or a digit."""
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return plain[:40].rstrip("-") or "model"
