"""Installs packages into a new environment with uv, and says whose requirements contradict each other."""

from dataclasses import dataclass, replace
from pathlib import Path

from reconciler.steps import hashed_requirements, intact, model_wheels, uv
from reconciler.steps.intact import Fresh
from reconciler.steps.manifest import Environment
from reconciler.steps.requirements import SERVER_REQUIREMENTS, server_package
from reconciler.steps.step_report import StepError, print_line
from reconciler.steps.subprocesses import Room

OWN, TOGETHER = "requirements.txt", "together.txt"
"""What the model needs, alone and with one requirement of the server's."""
PINNED, KNOWN = "server.txt", "known.txt"
"""What the server needs with its hashes, and the hashes of what that needs."""
CONSTRAINTS = "constraints.txt"
"""The model's own."""
WHEELS = "wheels"
"""A directory of links to the model's own wheels."""


def make(venv: Path, python: str, room: Room) -> Fresh:
    """Make an environment without packages; raises StepError."""
    try:
        uv.run("venv", "--no-project", "--relocatable", "--python", python, str(venv), room=room)
    except uv.UvError as error:
        raise uv.as_step_error(error, "the model's requirements", uv.Sources()) from error
    return intact.look_at(venv)


@dataclass(frozen=True)
class Order:
    """What to install, and from where."""

    wanted: Environment
    model: Path
    """The fetched model's own files, for the wheels that it lists."""
    python: str
    """The interpreter that the environment was made from."""
    sources: uv.Sources
    server_wheels: Path
    """The product's own wheels of what the server needs, if there are any."""
    login: str = ""
    """A netrc text for the index."""


def install(fresh: Fresh, order: Order, room: Room) -> None:
    """Install what the model and the server need; raises StepError with the reason why that cannot be.

    uv starts the environment's interpreter once, before there is anything in it, and never again.
    """
    wanted = order.wanted
    lines = tuple(map(model_wheels.named, wanted.requirements))
    own, server = room.directory / OWN, server_package() / SERVER_REQUIREMENTS
    own.write_text("".join(f"{line}\n" for line in lines))
    if wanted.constraints:
        (room.directory / CONSTRAINTS).write_text("".join(f"{line}\n" for line in wanted.constraints))
    needs = ["--requirement", str(server)]
    if wanted.pins is not None:
        listed, known = hashed_requirements.server_needs(lines, server_package())
        for name, pins in ((PINNED, listed), (KNOWN, known)):
            (room.directory / name).write_text("".join(f"{line}\n" for line in pins))
        needs = ["--require-hashes", "--requirement", str(room.directory / PINNED)]
        needs += ["--constraint", str(room.directory / KNOWN)]
    command = ["pip", "install", "--python", str(fresh.venv / "bin" / "python")]
    command += ["--requirement", str(own), *_constrained(room), *needs]
    for sources in _places(order, room):
        login = "" if sources.is_model_alone else order.login
        try:
            uv.run(*command, *sources.arguments(), room=room, login=login)
        except uv.UvError as error:
            is_elsewhere = sources.is_model_alone and uv.may_be_elsewhere(error)
            if is_elsewhere:
                print_line("the model's wheels are not all that is needed: the host's own sources are asked, too")
                continue
            if uv.is_conflict(error):
                _blame_the_server(error, replace(order, sources=sources), server, room)
            raise uv.as_step_error(error, "the model's requirements", sources) from error
        return


def _places(order: Order, room: Room) -> list[uv.Sources]:
    """Return from where to install: the first that has everything counts.

    A model whose requirements are wheels in itself, all of them, needs no index: what the server needs, the product
    brings along.
    """
    wheels = room.directory / WHEELS
    has_wheels = model_wheels.collect(order.wanted.requirements, order.model, wheels)
    if not has_wheels:
        return [order.sources]
    usual = replace(order.sources, in_the_model=str(wheels))
    has_wheels_only = all(map(model_wheels.is_wheel, order.wanted.requirements))
    if not has_wheels_only:
        return [usual]
    brought = (str(order.server_wheels),) if order.server_wheels.is_dir() else ()
    return [uv.Sources(in_the_model=str(wheels), find_links=brought, offline=True, is_model_alone=True), usual]


def _blame_the_server(error: uv.UvError, order: Order, server: Path, room: Room) -> None:
    """Raise StepError when the model's requirements can be met, only not together with the server's own few."""
    # The host's interpreter is asked: by now there may be packages in the environment.
    resolve = ["pip", "compile", "--quiet", "--no-header", "--python", order.python, *order.sources.arguments()]
    resolve += _constrained(room)
    try:
        uv.run(*resolve, str(room.directory / OWN), room=room, login=order.login)
    except uv.UvError:
        return  # they cannot be met alone either, and the first error says why
    needs = [line for line in server.read_text().splitlines() if line.strip() and not line.startswith("#")]
    culprits = [line for line in needs if not _resolves_with(line, resolve, order.login, room)]
    raise StepError(
        f"cannot build the environment: the model's requirements contradict what the server itself needs "
        f"({', '.join(culprits or needs)}): {uv.because(error)}; log the model with other versions"
    ) from error


def _constrained(room: Room) -> list[str]:
    constraints = room.directory / CONSTRAINTS
    return ["--constraint", str(constraints)] if constraints.exists() else []


def _resolves_with(line: str, resolve: list[str], login: str, room: Room) -> bool:
    together = room.directory / TOGETHER
    together.write_text(f"{(room.directory / OWN).read_text()}{line}\n")
    try:
        uv.run(*resolve, str(together), room=room, login=login)
    except uv.UvError:
        return False
    return True
