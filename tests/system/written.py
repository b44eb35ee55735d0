"""What a host has written: exactly its upper layer, in which what it removed is a mark, too."""

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from tests.host import Host

MAY_CHANGE = re.compile(
    r"etc/systemd/system/(.*\.wants/)?\.?(model|mlflow)-[^/]*"
    r"|var/lib/(mlflow-reconciler|mlflow-deploy|(private/)?test-mlflow-server|systemd)/.*"
    r"|var/log/.*|tmp/.*|var/tmp/.*"
)
"""Where a deployment, the registry of a test and systemd itself write."""


def written(host: Host) -> set[str]:
    """Say of everything but directories where it is, what it is, whose, how long, and when it was changed."""
    return set(_below(host.layers.upper, ""))


def _below(directory: Path, name: str) -> Iterator[str]:
    with os.scandir(directory) as entries:
        for entry in entries:
            path = f"{name}{entry.name}"
            about = entry.stat(follow_symlinks=False)
            if not MAY_CHANGE.fullmatch(path):
                what = f"{path} {stat.filemode(about.st_mode)} {about.st_uid} {about.st_gid}"
                if entry.is_dir(follow_symlinks=False):
                    yield what
                else:
                    yield f"{what} {about.st_size} {about.st_mtime_ns} {about.st_ctime_ns}"
            if entry.is_dir(follow_symlinks=False):
                yield from _below(Path(entry.path), f"{path}/")
