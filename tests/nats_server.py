"""A real NATS server for tests, which can be ended and started again with what it has stored."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.mlflow_server import PATIENCE, free_port, wait_until

NATS_SERVER = Path(os.environ.get("TESTED_NATS_SERVER") or Path(sys.executable).with_name("nats-server"))


@dataclass
class Nats:
    """One server at a port of this machine."""

    directory: Path
    jetstream: bool
    configuration: str = ""
    """More lines of its file: logins, TLS."""
    port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"nats://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        lines = [f'listen: "127.0.0.1:{self.port}"', self.configuration]
        if self.jetstream:
            lines.append(f'jetstream {{ store_dir: "{self.directory}/jetstream" }}')
        file = self.directory / "nats.conf"
        file.write_text("\n".join(lines))
        log = self.directory / "nats.log"
        ready = log.read_text().count("Server is ready") if log.exists() else 0
        with log.open("ab") as output:
            self.process = subprocess.Popen([str(NATS_SERVER), "-c", str(file)], stdout=output, stderr=output)
        wait_until(lambda: log.read_text().count("Server is ready") > ready, f"NATS is ready: {log.read_text()[-500:]}")

    def end(self, number: int = signal.SIGTERM) -> None:
        """End it, in order or by another signal."""
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(PATIENCE)
            self.process = None

    def restart(self) -> None:
        """End it in order and start it again with what it has stored."""
        self.end()
        self.start()


@contextmanager
def nats_server(directory: Path, *, jetstream: bool = True, configuration: str = "") -> Iterator[Nats]:
    """Run a server that keeps what it stores in `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    server = Nats(directory, jetstream, configuration)
    server.start()
    try:
        yield server
    finally:
        server.end(signal.SIGKILL)
