"""Installs packages into a new environment with uv, and says whose requirements contradict each other."""

from pathlib import Path

from reconciler.steps import hashed_requirements, intact, uv
from reconciler.steps.intact import Fresh
from reconciler.steps.manifest import Environment
from reconciler.steps.requirements import SERVER_REQUIREMENTS, server_package
from reconciler.steps.step_report import StepError
from reconciler.steps.subprocesses import Room

OWN, TOGETHER = "requirements.txt", "together.txt"
"""What the model needs, alone and with one requirement of the server's."""
PINNED, KNOWN = "server.txt", "known.txt"
"""What the server needs with its hashes, and the hashes of what that needs."""


def make(venv: Path, python: str, room: Room) -> Fresh:
    """Make an environment without packages; raises StepError."""
    try:
        uv.run("venv", "--no-project", "--relocatable", "--python", python, str(venv), room=room)
    except uv.UvError as error:
        raise uv.as_step_error(error, "the model's requirements", uv.Sources()) from error
    return intact.look_at(venv)


def install(fresh: Fresh, wanted: Environment, python: str, sources: uv.Sources, login: str, room: Room) -> None:
    """Install what the model and the server need; raises StepError with the reason why that cannot be.

    uv starts the environment's interpreter once, before there is anything in it, and never again.
    """
    own, server = room.directory / OWN, server_package() / SERVER_REQUIREMENTS
    own.write_text("".join(f"{line}\n" for line in wanted.requirements))
    needs = ["--requirement", str(server)]
    if wanted.pins is not None:
        listed, known = hashed_requirements.server_needs(wanted.requirements, server_package())
        for name, lines in ((PINNED, listed), (KNOWN, known)):
            (room.directory / name).write_text("".join(f"{line}\n" for line in lines))
        needs = ["--require-hashes", "--requirement", str(room.directory / PINNED)]
        needs += ["--constraint", str(room.directory / KNOWN)]
    command = ["pip", "install", "--python", str(fresh.venv / "bin" / "python"), *sources.arguments()]
    try:
        uv.run(*command, "--requirement", str(own), *needs, room=room, login=login)
    except uv.UvError as error:
        if uv.is_conflict(error):
            _blame_the_server(error, python, server, sources, login, room)
        raise uv.as_step_error(error, "the model's requirements", sources) from error


def _blame_the_server(
    error: uv.UvError, python: str, server: Path, sources: uv.Sources, login: str, room: Room
) -> None:
    """Raise StepError when the model's requirements can be met, only not together with the server's own few."""
    # The host's interpreter is asked: by now there may be packages in the environment.
    resolve = ["pip", "compile", "--quiet", "--no-header", "--python", python, *sources.arguments()]
    try:
        uv.run(*resolve, str(room.directory / OWN), room=room, login=login)
    except uv.UvError:
        return  # they cannot be met alone either, and the first error says why
    needs = [line for line in server.read_text().splitlines() if line.strip() and not line.startswith("#")]
    culprits = [line for line in needs if not _resolves_with(line, resolve, login, room)]
    raise StepError(
        f"cannot build the environment: the model's requirements contradict what the server itself needs "
        f"({', '.join(culprits or needs)}): {uv.because(error)}; log the model with other versions"
    ) from error


def _resolves_with(line: str, resolve: list[str], login: str, room: Room) -> bool:
    together = room.directory / TOGETHER
    together.write_text(f"{(room.directory / OWN).read_text()}{line}\n")
    try:
        uv.run(*resolve, str(together), room=room, login=login)
    except uv.UvError:
        return False
    return True
