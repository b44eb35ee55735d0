"""Starts bridges as systemd would."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.modelserver.process import ROOT, ServerProcess
from tests.nats_server import Nats
from tests.s3 import Buckets
from tests.spira.client import KINDS

NAME = "echo"


@dataclass
class Bridge(ServerProcess):
    """One running bridge, what it told systemd and what it printed."""

    @property
    def line(self) -> str:
        """The last status line."""
        self.hear()
        lines = [message for message in self.told if message.startswith("STATUS=") or "\nSTATUS=" in message]
        return lines[-1].partition("STATUS=")[2].partition("\n")[0] if lines else ""

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def start_bridge(
    directory: Path,
    broker: Nats | str,
    store: Buckets,
    server: str,
    *arguments: str,
    credentials: Mapping[str, str] | None = None,
    kinds: Sequence[str] = KINDS,
) -> Bridge:
    """Start a bridge; `directory` takes its credentials, its notification socket and its output."""
    directory.mkdir(parents=True, exist_ok=True)
    given = directory / "credentials"
    given.mkdir(exist_ok=True)
    for name, content in {"recordings.aws": store.credential, **(credentials or {})}.items():
        (given / name).write_text(content)
    notifications = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    (directory / "notify").unlink(missing_ok=True)
    notifications.bind(str(directory / "notify"))
    url = broker if isinstance(broker, str) else broker.url
    command = [sys.executable, "-m", "reconciler.bridge", "--name", NAME, "--nats-url", url, "--socket", server]
    command += ["--s3-endpoint-url", store.url, "--optional-kind", "frase"]
    command += [word for kind in kinds for word in ("--kind", kind)]
    environment = {
        "PATH": os.environ["PATH"],
        "CREDENTIALS_DIRECTORY": str(given),
        "NOTIFY_SOCKET": str(directory / "notify"),
        "PYTHONPATH": str(ROOT),
    }
    output = directory / "output"
    with output.open("ab") as file:
        process = subprocess.Popen(
            [*command, *arguments], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )
    return Bridge(process, notifications, output)
