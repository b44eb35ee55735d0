"""Run the agent as its unit does, with files of the test's own."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from reconciler.core.state.snapshot import Snapshot
from tests.mlflow_server import PATIENCE, NotifySocket, wait_until

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
from pathlib import Path
from reconciler.agent.poll import run_agent
from reconciler.settings.load import load
config = Path(sys.argv[1])
run_agent(load(config), config, registry_file=Path(sys.argv[2]), status=Path(sys.argv[3]))
"""


class AgentProcess:
    """A running agent; what it wrote, told systemd and logged."""

    def __init__(self, directory: Path, settings: str, program: str = PROGRAM, **environment: str) -> None:
        """Prepare; entering the context starts it."""
        directory.mkdir(parents=True, exist_ok=True)
        self.config = directory / "config.toml"
        self.config.write_text(settings)
        self.registry_file = directory / "registry.json"
        self.status_file = directory / "status.json"
        self._log = directory / "log"
        self._program = program
        self._notify = NotifySocket(directory / "notify.sock")
        self._environment = {"PATH": "/usr/bin:/bin", **self._notify.environment, **environment}
        self._environment["PYTHONPYCACHEPREFIX"] = os.environ.get("PYTHONPYCACHEPREFIX", "")

    def __enter__(self) -> Self:
        """Start the process."""
        command = [sys.executable, "-c", self._program, *map(str, (self.config, self.registry_file, self.status_file))]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=log, stderr=log)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it if it still runs."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE)
        self._notify.close()

    @property
    def lines(self) -> list[str]:
        """Return what it logged so far."""
        return self._log.read_text().splitlines()

    @property
    def status(self) -> str:
        """Return the last STATUS= it told."""
        return (self._notify.statuses() or [""])[-1]

    @property
    def messages(self) -> list[dict[str, str]]:
        """Return everything it told systemd, oldest first."""
        return self._notify.messages

    def snapshot(self) -> Snapshot:
        """Return what it wrote, as the reconciler would read it."""
        return Snapshot.model_validate_json(self.registry_file.read_bytes())

    def selected(self) -> dict[str, int]:
        """Return what is selected; nothing while there is no file."""
        return {model.name: model.version for model in self.snapshot().models} if self.registry_file.exists() else {}

    def wait_for_status(self, words: str) -> str:
        """Wait until the status says something."""
        return wait_until(
            lambda: self.status if words in self.status else "", f"the status says {words!r}: {self.status}"
        )

    def wait_for_try(self, number: int) -> str:
        """Wait until the status speaks of this try or a later one, for a slow machine may miss one; gives it."""

        def reached() -> str:
            found = re.search(r"\(try (\d+)\)", status := self.status)
            return status if found and int(found[1]) >= number else ""

        return wait_until(reached, f"the status speaks of try {number}")

    def wait_for_selection(self, **expected: int) -> None:
        """Wait until exactly this is selected."""
        wait_until(
            lambda: self.registry_file.exists() and self.selected() == expected,
            f"{expected} is selected: {self.status}",
        )
