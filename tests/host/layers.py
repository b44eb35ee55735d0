"""A host's file system: an overlay over this machine's own root, so that nothing of the machine changes."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

# What the machine has enabled for itself or installed of this product is hidden from the host: it starts as a plain
# Debian whose /etc/systemd/system is empty.
HIDDEN = (
    "etc/systemd/system",
    "etc/mlflow-reconciler",
    "opt/mlflow-reconciler",
    "root/.cache",
    "usr/local/lib/systemd",
    "var/lib/mlflow-reconciler",
    "var/lib/mlflow-deploy",
    "var/log/journal",
)


class Layers:
    """Upper directory and mount point of one host, below `directory`, and what it is mounted over."""

    def __init__(self, directory: Path, base: "Layers | None" = None, seed: Mapping[str, Path] | None = None) -> None:
        """`base`: of a host powered off, still mounted, to build upon; without one it is the machine's root.

        `seed`: directories of this machine, on the same file system, that are hard-linked into the host beforehand.
        """
        self.directory = directory
        self.base = base
        self.seed = seed or {}
        self.root = directory / "root"
        self._stack = directory / "stack"
        self.volatile = False  # whether the upper directory is on a tmpfs

    @property
    def upper(self) -> Path:
        """What the host wrote."""
        return self._stack / "upper"

    def mount(self) -> None:
        """Mount the overlay; where the machine's root cannot hold an upper directory, that one is put on a tmpfs."""
        self.root.mkdir(parents=True, exist_ok=True)
        self._stack.mkdir(exist_ok=True)
        lowers = ["/"]
        if self.base is not None:
            # An overlay over the base's overlay. Where the machine's root is one itself that is one too many; but then
            # the base's upper directory is on a tmpfs and may be a layer beside the root.
            lowers = [str(self.base.root), f"{self.base.upper}:/"]
        if any(self._mount_overlay(lower) for lower in lowers):
            return
        # The root (and so /var/tmp) is itself an overlay, as in most containers: that cannot hold an upper directory.
        shutil.rmtree(self._stack)
        self._stack.mkdir()
        _run("mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", str(self._stack))
        self.volatile = True
        if not any(self._mount_overlay(lower) for lower in lowers):
            raise OSError(f"cannot mount an overlay at {self.root}: neither on disk nor on a tmpfs; see dmesg")

    def _mount_overlay(self, lower: str) -> bool:
        work = self._stack / "work"
        work.mkdir(exist_ok=True)
        if not self.upper.exists():
            self.upper.mkdir(mode=0o755)
            if self.base is None:
                for name in HIDDEN:
                    self._hide(name)
            if not self.volatile:
                for name, directory in self.seed.items():
                    (self.upper / name).parent.mkdir(parents=True, exist_ok=True)
                    _run("cp", "--archive", "--link", str(directory), str(self.upper / name))
        options = f"lowerdir={lower},upperdir={self.upper},workdir={work}"
        command = ["mount", "-t", "overlay", "mlflow-host", "-o", options, str(self.root)]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    def _hide(self, name: str) -> None:
        """Make `name` an empty directory in the host if the machine has something there."""
        path = self.upper
        machine = Path("/")
        if not (machine / name).is_dir():
            return
        for part in Path(name).parts:
            path, machine = path / part, machine / part
            if not path.exists():
                path.mkdir()
                status = machine.stat()
                os.chown(path, status.st_uid, status.st_gid)
                path.chmod(status.st_mode & 0o7777)
        os.setxattr(path, "trusted.overlay.opaque", b"y")

    def unmount(self) -> None:
        """Unmount what `mount` mounted; the upper directory stays unless it was on a tmpfs."""
        if os.path.ismount(self.root):
            _run("umount", "--recursive", str(self.root))

    def remove(self) -> None:
        """Unmount everything and delete the host's directory."""
        self.unmount()
        if os.path.ismount(self._stack):
            _run("umount", str(self._stack))
        shutil.rmtree(self.directory, ignore_errors=False)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
