"""Run one release step as its unit does, and look at how it ended."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.mlflow_server import PATIENCE, NotifySocket

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ended:
    """What a step left behind."""

    code: int
    status: str
    """The last STATUS= that systemd would show."""
    output: str


def command(*arguments: object) -> list[str]:
    """Return the command line of a step."""
    return [sys.executable, "-m", "reconciler.steps", *map(str, arguments)]


def environment(state: Path, **more: str) -> dict[str, str]:
    """Return what the unit gives a step, without a home and without anything of this machine."""
    state.mkdir(parents=True, exist_ok=True)
    return {
        "PATH": "/usr/bin:/bin",
        "STATE_DIRECTORY": str(state),
        "PYTHONPYCACHEPREFIX": os.environ.get("PYTHONPYCACHEPREFIX", ""),
        **more,
    }


class Steps:
    """Runs steps, each in a process of its own, forked from one that has imported MLflow already."""

    def __init__(self) -> None:
        """Start the process that forks; it is ready when the first step is."""
        self._zygote = subprocess.Popen(
            [sys.executable, "-m", "tests.steps.zygote"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, state: Path, *arguments: object, **more: str) -> Ended:
        """Run a step to its end, with `more` in its environment."""
        state.mkdir(parents=True, exist_ok=True)
        path, output = state.parent / "notify.sock", state.parent / "output"
        path.unlink(missing_ok=True)
        listener = NotifySocket(path)
        asked = {
            "arguments": [str(argument) for argument in arguments],
            "environment": environment(state, **listener.environment, **more),
            "output": str(output),
        }
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        self._zygote.stdin.write(json.dumps(asked) + "\n")
        self._zygote.stdin.flush()
        code = int(self._zygote.stdout.readline())
        listener.close()
        statuses = listener.statuses()
        return Ended(code, statuses[-1] if statuses else "", output.read_text())

    def close(self) -> None:
        """End the process that forks."""
        self._zygote.communicate(timeout=PATIENCE)
