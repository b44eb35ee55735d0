"""A real MLflow server for tests outside a booted host, and a socket that listens as systemd does."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

Found = TypeVar("Found")
PATIENCE = 60.0
"""Seconds that a condition may take on a busy machine."""


def wait_until(look: Callable[[], Found], what: str, patience: float = PATIENCE) -> Found:
    """Look until something true is found and return it; raises AssertionError when it takes too long."""
    end = time.monotonic() + patience
    pause = threading.Event()
    while not (found := look()):
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain until {what}")
        pause.wait(0.05)
    return found


def free_port() -> int:
    """Find a TCP port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _path(arguments: tuple[str, ...]) -> str:
    """Return the path below which a server with these arguments has everything; "" where it has it at the top."""
    option = "--static-prefix"
    return arguments[arguments.index(option) + 1] if option in arguments else ""


@contextmanager
def mlflow_server(
    directory: Path, port: int | None = None, *more: str, environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Run a server with its database and artifacts in `directory`; yields its address once it answers.

    `more` are further arguments of its command line, `environment` is what it has beside this process's own.
    """
    port = port or free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{directory}/mlflow.db"]
    command += ["--artifacts-destination", str(directory / "artifacts"), *more]
    variables = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    variables |= environment or {}
    address = f"http://127.0.0.1:{port}{_path(more)}"

    def answers() -> bool:
        if server.poll() is not None:
            raise AssertionError(f"the MLflow server ended: {(directory / 'log').read_text()[-2000:]}")
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:  # noqa: S310 - our own server
                return bool(answer.status == 200)
        except OSError:
            return False

    with (directory / "log").open("ab") as log:
        server = subprocess.Popen(command, cwd=directory, env=variables, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_until(answers, "the MLflow server answers")
            yield address
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(PATIENCE)


class NotifySocket:
    """Receives what a program tells systemd, as fast as it comes; `environment` is for the program."""

    def __init__(self, path: Path) -> None:
        """Listen on `path`."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self.environment = {"NOTIFY_SOCKET": str(path)}
        self.messages: list[dict[str, str]] = []
        # A thread, because a program that notifies into a full socket waits there.
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def _receive(self) -> None:
        while raw := self._socket.recv(65536):
            lines = raw.decode().splitlines()
            self.messages.append(dict(line.split("=", 1) for line in lines if "=" in line))

    def statuses(self) -> list[str]:
        """Return every STATUS= so far, oldest first."""
        return [message["STATUS"] for message in [*self.messages] if "STATUS" in message]

    def close(self) -> None:
        """Receive what was sent until now, and stop listening."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self.environment["NOTIFY_SOCKET"])
        self._thread.join(PATIENCE)
        self._socket.close()
