"""Starts servers as systemd would: with listening sockets at descriptor 3 and up, and a socket for notifications."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
# Names a directory with packages that the servers of a test run import in place of those of the tests.
OTHER_PACKAGES = "TESTED_WITH_PACKAGES_IN"
# Nothing of the tester's own environment: a service has none of it, not even HOME.
ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "2",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    # MLflow prints sets in its messages; the same seed puts them in the same order in both servers.
    "PYTHONHASHSEED": "0",
}
_AS_SYSTEMD = 'export LISTEN_PID=$$ WATCHDOG_PID=${WATCHDOG_PID:-$$}; exec "$@"'


def listen(address: str | tuple[str, int] = ("127.0.0.1", 0)) -> socket.socket:
    """A listening socket, as a socket unit keeps it."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.bind(address)
    listener.listen(4096)
    listener.setblocking(False)
    return listener


def url(listener: socket.socket) -> str:
    """Where clients of a TCP listener go."""
    host, port = listener.getsockname()
    return f"http://{host}:{port}"


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Waits for a condition, not for a time."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited in vain until {what}")
        time.sleep(0.02)


@dataclass
class ServerProcess:
    """One running `modelserver serve`, what it told systemd and what it printed."""

    process: subprocess.Popen[bytes]
    notifications: socket.socket
    output: Path
    told: list[str] = field(default_factory=list)

    def wait_for(self, text: str, after: int = 0) -> str:
        """The first notification with `text` in it, not among the first `after`; fails when the process ends first."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if found := next((message for message in self.told[after:] if text in message), None):
                return found
            ended = self.process.poll() is not None
            if not self.listen_to_it(0.05) and ended:
                raise AssertionError(f"ended with {self.process.returncode} before {text!r}: {self.printed()}")
        raise TimeoutError(f"waited in vain for {text!r}; told {self.told}; printed {self.printed()}")

    def listen_to_it(self, seconds: float) -> bool:
        """Whether another notification arrived within `seconds`."""
        self.notifications.settimeout(seconds)
        try:
            self.told.append(self.notifications.recv(65536).decode())
        except TimeoutError:
            return False
        return True

    def hear(self) -> int:
        """How many notifications have arrived, those included that were not listened to yet."""
        while self.listen_to_it(0.01):
            pass
        return len(self.told)

    def send(self, number: int, text: str) -> str:
        """Sends a signal and returns the first notification after it with `text` in it."""
        heard = self.hear()
        self.process.send_signal(number)
        return self.wait_for(text, heard)

    def catches(self, number: int) -> bool:
        """Whether it has a handler for a signal."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
        return bool(int(caught.split()[1], 16) >> (number - 1) & 1)

    def end(self) -> int:
        """Asks it to stop, as systemd does, and returns its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self) -> int:
        """Its exit status, when it has ended; everything that it told is in `told` then."""
        try:
            status = self.process.wait(PATIENCE)
        finally:
            self.process.kill()
        self.hear()
        return status

    def printed(self) -> str:
        """What it wrote to stdout and stderr."""
        return self.output.read_text()


def start(
    directory: Path,
    model: Path,
    listeners: Sequence[socket.socket] = (),
    arguments: Sequence[str] = (),
    release: str = "1.0badcafe",
    environment: Mapping[str, str] = MappingProxyType({}),
    cwd: Path = ROOT,
) -> ServerProcess:
    """Starts a server of `model`; it is not ready yet. `directory` takes its notification socket and its output."""
    directory.mkdir(parents=True, exist_ok=True)
    notifications = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notifications.bind(str(directory / "notify"))
    # Out of the way of the descriptors that they are moved to.
    high = [fcntl.fcntl(listener.fileno(), fcntl.F_DUPFD, 200) for listener in listeners]
    moves = "".join(f"exec {3 + index}<&{number} {number}<&-; " for index, number in enumerate(high))
    command = [sys.executable, "-m", "modelserver", "serve", "--model-dir", str(model)]
    command += ["--name", "echo", "--version", release.split(".")[0], "--release", release, *arguments]
    output = directory / "output"
    try:
        with output.open("wb") as file:
            process = subprocess.Popen(
                ["bash", "-c", moves + _AS_SYSTEMD, "bash", *command],
                cwd=cwd,
                env={
                    **ENVIRONMENT,
                    "PYTHONPATH": os.pathsep.join(filter(None, (os.environ.get(OTHER_PACKAGES), str(ROOT)))),
                    "LISTEN_FDS": str(len(high)),
                    "NOTIFY_SOCKET": str(directory / "notify"),
                    **environment,
                },
                pass_fds=high,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
    finally:
        for number in high:
            os.close(number)
    return ServerProcess(process, notifications, output)
