"""Runs docker compose, whichever form of it the host has."""

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from containerserver.engine import EngineError
from containerserver.names import Project
from modelserver.errors import one_line
from reconciler.core.units.paths import COMPOSE_COMMANDS
from reconciler.core.units.status_lines import CANNOT_REACH_ENGINE

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PATIENCE = 300
_ASKING = 30


class Compose:
    """One of compose's commands, and the engine that it is for."""

    def __init__(self, engine: Path) -> None:
        """Find it. Raises EngineError."""
        self._environment = {"DOCKER_HOST": f"unix://{engine}", "PATH": _PATH, "HOME": "/tmp"}  # noqa: S108 - the unit's own
        self._command = next(self._found(), None)
        if self._command is None:
            raise EngineError(
                f"{CANNOT_REACH_ENGINE}: this host has neither version 2 nor version 1 of docker compose; "
                "apt-get install docker-compose"
            )

    def up(self, project: Project, file: Path, secrets: Mapping[str, str]) -> None:
        """Bring a server's containers up. `secrets`: variables that the file names without a value.

        Raises EngineError.
        """
        self._run(project, file, ["up", "--detach", "--no-build", "--force-recreate", "--remove-orphans"], secrets)

    def down(self, project: Project, file: Path, seconds: int) -> None:
        """Stop and remove a server's containers and networks; `seconds`: until they are killed. Raises EngineError."""
        self._run(project, file, ["down", "--volumes", "--remove-orphans", "--timeout", str(seconds)], {})

    def _found(self) -> Iterator[Sequence[str]]:
        for command in COMPOSE_COMMANDS:
            if not Path(command[0]).exists():
                continue
            try:
                subprocess.run(  # noqa: S603 - one of those above
                    [*command, "version"], env=self._environment, capture_output=True, timeout=_ASKING, check=True
                )
            except (OSError, subprocess.SubprocessError):
                continue  # not this one
            yield command

    def _run(self, project: Project, file: Path, arguments: Sequence[str], secrets: Mapping[str, str]) -> None:
        command = [*(self._command or ()), "--project-name", project.id, "--file", str(file), *arguments]
        try:
            done = subprocess.run(  # noqa: S603 - found above, with words of ours
                command,
                env={**self._environment, **secrets},
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=_PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise EngineError(f"cannot run docker compose {arguments[0]}: it took longer than {_PATIENCE} s") from None
        if done.returncode:
            why = one_line(" ".join(done.stderr.split("\n")[-8:]))
            raise EngineError(f"cannot run docker compose {arguments[0]}: {why}; see {file}")
