"""The control groups a host lives in: one of its own per hierarchy, so that hosts do not share systemd's tree."""

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

CGROUP_ROOT = Path("/sys/fs/cgroup")
LIMITING_V1 = ("memory", "pids")
"""The controllers of cgroup v1 that limit what a unit may use."""


def systemd_is_pid_1() -> bool:
    """Whether this machine itself runs systemd; then nspawn asks it for a scope and nothing is to be made here."""
    return Path("/run/systemd/system").is_dir()


@dataclass(frozen=True)
class HostCgroups:
    """Directories below /sys/fs/cgroup into which the host's first process is moved before it starts."""

    directories: tuple[Path, ...]

    @classmethod
    def named(cls, name: str) -> "HostCgroups":
        """Where a host called `name` lives: below our own group, in each hierarchy systemd uses (v1, hybrid, v2)."""
        if systemd_is_pid_1():
            return cls(())
        directories = []
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "name=systemd":
                mount = CGROUP_ROOT / "systemd"
            elif controllers in LIMITING_V1:
                mount = CGROUP_ROOT / controllers
            elif controllers == "":
                mount = CGROUP_ROOT / "unified" if (CGROUP_ROOT / "unified").is_dir() else CGROUP_ROOT
            else:
                continue
            if (mount / "cgroup.procs").exists():
                # Seen from inside a cgroup namespace or a bind of /sys our own path may not exist: the top does.
                own = mount / path.lstrip("/")
                directories.append((own if own.is_dir() else mount) / name)
        return cls(tuple(directories))

    def create(self) -> None:
        """Make the groups, empty."""
        for directory in self.directories:
            directory.mkdir()

    def remove(self, deadline: float = 10.0) -> None:
        """Kill what is left in the groups and remove them; OSError after `deadline` seconds."""
        for top in self.directories:
            end = time.monotonic() + deadline
            while top.exists():
                for procs in top.rglob("cgroup.procs"):
                    _kill_all(procs)
                if _remove_empty(top):
                    break
                if time.monotonic() > end:
                    raise OSError(f"cannot remove cgroup {top}: it still has members; see its cgroup.procs")
                time.sleep(0.02)


def _kill_all(procs: Path) -> None:
    try:
        pids = [int(line) for line in procs.read_text().split()]
    except FileNotFoundError:  # the group went away between listing and reading
        return
    for pid in pids:
        if pid:
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                continue


def _remove_empty(top: Path) -> bool:
    """Remove the tree from its leaves; False when a group is still busy."""
    for directory, _, _ in os.walk(top, topdown=False):
        try:
            Path(directory).rmdir()
        except FileNotFoundError:
            continue
        except OSError:
            return False
    return True


def why_no_host() -> str | None:
    """None if a host can be booted here, else the reason why not, as the end of a sentence."""
    if os.geteuid() != 0:
        return "needs root"
    if shutil.which("systemd-nspawn") is None:
        return "needs Debian's package systemd-container"
    return None
