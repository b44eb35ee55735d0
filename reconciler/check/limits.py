"""Looks over whether the kernel holds models to their limits: in a container it may not be able to."""

import os
from collections.abc import Iterator
from pathlib import Path

from reconciler.settings.model import Settings

CGROUPS = Path("/sys/fs/cgroup")
_LIMITED = {"memory": "deploy.memory_max", "cpu": "deploy.cpu_quota"}


def unenforced(settings: Settings, cgroups: Path = CGROUPS) -> Iterator[str]:
    """Say which limits of the settings do nothing on this host.

    systemd takes them and says nothing. It is no fault of the installation, but somebody should know.
    """
    values = {"memory": settings.deploy.memory_max, "cpu": settings.deploy.cpu_quota}
    for controller, setting in _LIMITED.items():
        if values[controller] and not _is_there(controller, cgroups):
            yield (
                f"{setting} has no effect, because this host's systemd has no control groups for {controller}; "
                "have the container or the kernel give it that controller"
            )


def _is_there(controller: str, cgroups: Path) -> bool:
    """Whether systemd can use a controller, of unified control groups or of those before them."""
    try:
        return controller in (cgroups / "cgroup.controllers").read_text().split()
    except OSError:
        # Containers show the older ones read-only, which no mode tells: `access` asks the file system.
        return os.access(cgroups / controller, os.W_OK)
