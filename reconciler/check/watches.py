"""Looks whether the kernel lets systemd watch the files of all releases that serve."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

from reconciler.check.host import Finding
from reconciler.settings.model import Settings

LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")
WATCHERS = "mlflow-verify@*.path"
DROP_IN = "/etc/sysctl.d/60-mlflow-reconciler.conf"
# systemd takes an instance of inotify for each PathChanged= of a unit: its release and its environment.
_EACH = 2
# What systemd and root's other programs have on a usual Debian; it is 20 to 40.
_OTHERS = 48


def findings(_settings: Settings) -> Iterator[Finding]:
    """Find a limit of the kernel that leaves files unwatched."""
    try:
        limit = int(LIMIT.read_text())
    except (OSError, ValueError):
        return  # a kernel without inotify, or a container that hides it: nothing can be said
    finding = too_few(limit, len(_watched()))
    if finding is not None:
        yield finding


def too_few(limit: int, releases: int) -> Finding | None:
    """The finding where root's `limit` of inotify instances is too small for so many watched releases."""
    needed = releases * _EACH + _OTHERS
    if not releases or needed <= limit:
        return None
    enough = 1 << (2 * needed).bit_length()
    return Finding(
        f"the kernel allows root {limit} inotify instances, and watching the files of {releases} releases takes "
        f"{releases * _EACH}: changes of some may be noticed only by the next verification",
        f"echo fs.inotify.max_user_instances={enough} >{DROP_IN} && sysctl --load={DROP_IN} && "
        f"systemctl restart '{WATCHERS}'",
    )


def _watched() -> list[str]:
    command = ["systemctl", "list-units", "--type=path", "--all", "--plain", "--no-legend", WATCHERS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603 - fixed words
    return done.stdout.splitlines()
