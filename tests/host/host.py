"""A whole systemd host, booted in about two seconds over this machine's own root and thrown away afterwards."""

import fcntl
import os
import re
import secrets
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Self, TypeVar

from tests.host.cgroup import CGROUP_ROOT, LIMITING_V1, HostCgroups, systemd_is_pid_1
from tests.host.layers import Layers
from tests.host.ports import PortBlock

T = TypeVar("T")

CHECKOUT = Path(__file__).resolve().parents[2]
CHECKOUT_INSIDE = Path("/srv/mlflow-systemd")  # /tmp and /var/tmp are fresh in the host, so the checkout is bound here
BASE = Path(os.environ.get("MLFLOW_SYSTEMD_HOSTS", "/var/tmp/mlflow-systemd-hosts"))  # noqa: S108 - root's, mode 0700
# Of the machine, not of BASE: hosts share its network, wherever their files are.
PORTS = Path("/run/mlflow-systemd-test-ports")
# How to reach a package index through this machine's proxies and certificates: handed through, never known here.
HANDED_THROUGH = re.compile(r"(?i)^(pip_.*|uv_.*|ssl_cert_(file|dir)|requests_ca_bundle|curl_ca_bundle|.*_proxy)$")
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
INSTANCES = 2048
POWER_OFF = signal.SIGRTMIN + 4  # systemd(1): start poweroff.target


class HostError(AssertionError):
    """A host did not do what was expected of it; the text ends with the last lines of its journal."""


class Host:
    """One throwaway host. Use it as a context manager, or call `boot` and later `remove`.

    `base`: the layers of a powered-off host to build upon; `seed`: see Layers.
    `private_network`: no network but its own loopback; without it the host shares the machine's network.
    `nspawn_options`: passed on, e.g. `--system-call-filter=@keyring`.
    """

    alive: ClassVar["list[Host]"] = []  # booted and not yet removed, for who prints journals of failed tests

    def __init__(
        self,
        name: str = "host",
        *,
        base: Layers | None = None,
        seed: Mapping[str, Path] | None = None,
        private_network: bool = False,
        nspawn_options: Sequence[str] = (),
    ) -> None:
        """Take a directory, port numbers and mount the file system; nothing runs until `boot`."""
        BASE.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.name = f"{name}-{secrets.token_hex(3)}"
        self.private_network = private_network
        self.nspawn_options = tuple(nspawn_options)
        remove_leftovers()
        self._lock = _lock(BASE / f"{self.name}.lock")
        self.ports = PortBlock(PORTS)
        self.layers = Layers(BASE / self.name, base, seed)
        self._cgroups = HostCgroups.named(self.name)
        self._nspawn: subprocess.Popen[bytes] | None = None
        self.init: int | None = None  # process id of its systemd, seen from this machine
        self.boot_seconds = 0.0
        self.registry_port = self.ports.take()
        try:
            self.layers.mount()
        except BaseException:
            self.remove()
            raise

    def __enter__(self) -> Self:
        """Boot."""
        try:
            return self.boot()
        except BaseException:
            self.remove()
            raise

    def __exit__(self, *_: object) -> None:
        """Throw the host away."""
        self.remove()

    @property
    def root(self) -> Path:
        """The host's file system seen from this machine (its /run, /tmp and /var/tmp are not in it)."""
        return self.layers.root

    def boot(self, *, until: str = "multi-user.target", deadline: float = 120) -> Self:
        """Start systemd and wait until the unit `until` is active, at most `deadline` seconds."""
        started = time.monotonic()
        _allow_more_watches()
        machine_id = self.root / "etc/machine-id"
        machine_id.unlink(missing_ok=True)
        machine_id.touch()  # empty, not missing: a new identity, but no first-boot presets
        self.write("/etc/hostname", f"{self.name}\n")
        self._cgroups.create()
        command = [
            "systemd-nspawn",
            f"--directory={self.root}",
            f"--machine={self.name}",
            "--register=no",
            *([] if systemd_is_pid_1() else ["--keep-unit"]),
            "--link-journal=no",
            "--console=pipe",
            "--tmpfs=/var/tmp:mode=1777",
            f"--bind-ro={CHECKOUT}:{CHECKOUT_INSIDE}",
            # As on a real host: without it a unit's PrivateNetwork= has a loopback that is down.
            "--capability=CAP_NET_ADMIN",
            *(["--private-network"] if self.private_network else []),
            *self.nspawn_options,
            "--boot",
            "systemd.unit=multi-user.target",
            # systemd 256 and newer refuse cgroup v1 unless told; older ones do not know the word.
            "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1",
        ]
        # Into its own control groups first; and should we be killed, the host dies with us.
        enter = 'for d in $0; do echo $$ >"$d/cgroup.procs"; done; exec setpriv --pdeathsig KILL -- "$@"'
        groups = " ".join(map(str, self._cgroups.directories))
        with self._console.open("wb") as console:
            self._nspawn = subprocess.Popen(
                ["/bin/sh", "-ec", enter, groups, *command],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in a terminal is for us, not for nspawn
            )
        Host.alive.append(self)
        self.init = self.wait_for(self._find_init, deadline, "start of its systemd")
        self.wait_for(
            lambda: self._systemctl_says_active(until), deadline - (time.monotonic() - started), f"{until} active"
        )
        self.boot_seconds = time.monotonic() - started
        return self

    @property
    def _console(self) -> Path:
        return self.layers.directory / "console"

    def _find_init(self) -> int | None:
        if self._nspawn is None or self._nspawn.poll() is not None:
            raise HostError(f"cannot boot {self.name}: systemd-nspawn ended:\n{self._console.read_text()}")
        for child in _children(self._nspawn.pid):
            try:
                status = Path(f"/proc/{child}/status").read_text()
            except FileNotFoundError:
                continue
            if re.search(r"^Name:\s+(systemd|init)$", status, re.M) and re.search(r"^NSpid:.*\s1$", status, re.M):
                return child
        return None

    def _systemctl_says_active(self, unit: str) -> bool:
        return self.run(["systemctl", "is-active", "--quiet", unit], check=False).returncode == 0

    def run(
        self,
        command: str | Sequence[str],
        *,
        user: str | None = None,
        check: bool = True,
        timeout: float = 60,
        environment: Mapping[str, str] | None = None,
        stdin: str = "",
        live: bool = False,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside; a string is run by bash. Output is captured, or shown as it comes with `live`.

        `user`: an ordinary user of the host instead of root. Raises HostError when `check` and the command fails,
        subprocess.TimeoutExpired after `timeout` seconds.
        """
        words = ["bash", "-euo", "pipefail", "-c", command] if isinstance(command, str) else list(command)
        result = subprocess.run(
            [*self.enter(user), *words],
            env=self.environment(environment),
            input=stdin,
            text=True,
            timeout=timeout,
            stdout=None if live else subprocess.PIPE,
            stderr=subprocess.STDOUT if live else subprocess.PIPE,
            check=False,
        )
        if check and result.returncode:
            said = f"{result.stdout or ''}{result.stderr or ''}".rstrip()
            shown = command if isinstance(command, str) else shlex.join(command)
            raise HostError(f"`{shown}` on {self.name} ended with {result.returncode}:\n{said}")
        return result

    def output(self, command: str | Sequence[str], *, user: str | None = None, timeout: float = 60) -> str:
        """What a command that must succeed prints, stripped."""
        return self.run(command, user=user, timeout=timeout).stdout.strip()

    def enter(self, user: str | None = None) -> list[str]:
        """The words that go before a command to run it inside (for Popen and exec; `run` does it all)."""
        words = ["nsenter", "--target", str(self.init), "--all"]
        if user is not None:
            become = (
                'exec setpriv --reuid="$0" --regid="$(id -g "$0")" --init-groups'
                ' env HOME="$(getent passwd "$0" | cut -d: -f6)" USER="$0" LOGNAME="$0" "$@"'
            )
            words += ["bash", "-c", become, user]
        return words

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Give the environment of what runs inside, with more variables (for Popen and exec, as `enter`)."""
        handed = {name: value for name, value in os.environ.items() if HANDED_THROUGH.match(name)}
        return {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "TERM": os.environ.get("TERM", "dumb"),
            "SYSTEMD_PAGER": "",
            **handed,
            **(extra or {}),
        }

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file of root's inside, before or after the boot (not in /run, /tmp or /var/tmp before it)."""
        if self.init is None:
            target = self.root / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
            target.chmod(mode)
        else:
            script = 'mkdir -p "${1%/*}"; cat >"$1"; chmod "$2" "$1"'
            self.run(["bash", "-ec", script, "write", path, f"{mode:o}"], stdin=text)

    def read(self, path: str) -> str:
        """The text of a file inside."""
        return self.run(["cat", path]).stdout

    def journal(self, *options: str) -> str:
        """What journalctl prints with these options (all of this boot without)."""
        return self.run(["journalctl", "--no-pager", "--output=short-precise", *options], check=False).stdout

    def wait_for(self, condition: Callable[[], T | None], deadline: float, what: str, *, interval: float = 0.1) -> T:
        """Ask `condition` every `interval` seconds until it gives something true, and return that.

        Raises HostError after `deadline` seconds, with `what` was waited for and the end of the journal. An exception
        of the condition ends the wait: a condition that may fail for a while says so itself.
        """
        end = time.monotonic() + deadline
        while True:
            value = condition()
            if value:
                return value
            if self._nspawn is not None and self._nspawn.poll() is not None:
                raise HostError(f"{self.name} is off, while waiting for {what}:\n{self._console.read_text()[-4000:]}")
            if time.monotonic() > end:
                end_of_journal = self.journal("--lines=60") if self.init else self._console.read_text()[-4000:]
                raise HostError(
                    f"{self.name}: {what}: not within {deadline:.0f} s. Its journal ends:\n{end_of_journal}"
                )
            time.sleep(interval)

    def wait_for_unit(self, unit: str, state: str = "active", deadline: float = 60) -> None:
        """Wait until `systemctl is-active` says `state` of a unit."""
        self.wait_for(
            lambda: self.run(["systemctl", "is-active", unit], check=False).stdout.strip() == state,
            deadline,
            f"{unit} to be {state}",
        )

    def enforce_limits(self) -> None:
        """Have its systemd enforce limits of memory and tasks; of cgroup v1 nspawn shows the controllers read-only."""
        controllers = [CGROUP_ROOT / name for name in LIMITING_V1 if (CGROUP_ROOT / name).is_dir()]
        if not controllers:
            return
        places = " ".join(map(str, (CGROUP_ROOT, *controllers)))
        self.run(f"for one in {places}; do mount -o remount,bind,rw $one; done")
        self.run(["systemctl", "daemon-reexec"])
        self.wait_for(lambda: self._systemctl_says_active("multi-user.target"), 60, "its systemd to be back")

    def power_off(self, deadline: float = 60) -> None:
        """Shut down in order, as a person would; the file system stays mounted and complete."""
        self._end(POWER_OFF, deadline)

    def _end(self, signal_number: int, deadline: float) -> None:
        nspawn, init = self._nspawn, self.init
        if nspawn is None:
            return
        if nspawn.poll() is None and init is not None:
            os.kill(init, signal_number)
            with suppress(subprocess.TimeoutExpired):  # what does not end is killed below
                nspawn.wait(deadline)
        if nspawn.poll() is None:
            nspawn.kill()
            nspawn.wait()
        self._nspawn = self.init = None
        self._cgroups.remove()
        if self in Host.alive:
            Host.alive.remove(self)

    def remove(self) -> None:
        """End it at once, unmount and delete everything: no process, mount, control group or file stays."""
        self._end(signal.SIGKILL, 10)  # of its first process, and with that of all others
        self.layers.remove()
        self.ports.release()
        (BASE / f"{self.name}.lock").unlink()
        os.close(self._lock)


def _children(pid: int) -> list[int]:
    """Child processes of any thread of `pid`."""
    try:
        return [
            int(word)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for word in (task / "children").read_text().split()
        ]
    except FileNotFoundError:
        return []


def _allow_more_watches() -> None:
    """Have this machine's kernel allow root as many inotify instances as several hosts at once need: they share them.

    By default root has 128, and each model of each host takes two for its files: beyond that, nothing is watched.
    """
    current = int(INOTIFY.read_text())
    if current < INSTANCES:
        with suppress(OSError):  # a machine that does not let us: few hosts at once still work
            INOTIFY.write_text(f"{INSTANCES}\n")


def _lock(path: Path) -> int:
    """Lock a file for as long as this process lives; raises BlockingIOError when another process has it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise
    return descriptor


def remove_leftovers() -> None:
    """Unmount and delete what hosts of killed processes left (their processes died with their owner)."""
    for directory in BASE.iterdir():
        if not (directory / "root").is_dir():
            continue
        try:
            descriptor = _lock(BASE / f"{directory.name}.lock")
        except BlockingIOError:
            continue
        HostCgroups.named(directory.name).remove()
        Layers(directory).remove()
        (BASE / f"{directory.name}.lock").unlink()
        os.close(descriptor)
