"""Build: make the environment that a model asks for, from wheels, complete or not at all, shared by its digest."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from reconciler.apply.atomic import sync_directory, unfinished
from reconciler.core.sentences import human_size
from reconciler.release import built, hashes, tree, uv
from reconciler.release import manifest as manifests
from reconciler.release.alone import shut_out
from reconciler.release.built import COMPLETE, VENV
from reconciler.release.environment import (
    SERVER_REQUIREMENTS,
    environment_digest,
    server_digest,
    server_package,
    server_sources,
)
from reconciler.release.manifest import Environment
from reconciler.release.outcome import StepError, say

NEW, OLD = f"{VENV}.new", f"{VENV}.old"
"""What is being made, and what it replaces."""
PINNED, KNOWN = "server.txt", "known.txt"
"""What the server needs with its hashes, and the hashes of what that needs."""
SCRATCH = (NEW, "requirements.txt", PINNED, KNOWN, "cache", ".cache", ".config", ".local")


@dataclass(frozen=True)
class Ordered:
    """What the unit asks for."""

    digest: str
    sources: uv.Sources
    keep_free: int
    """Bytes that must be free on the file system before anything starts."""
    pinned: str | None = None
    """What root recorded of the environment when it was built."""
    require_hashes: bool = False


def build(environment: Path, release: Path, order: Ordered) -> str:
    """Make `environment` complete for a fetched release; return what was done as a line for the status.

    A complete one is left alone, a half one is begun anew.
    """
    try:
        wanted = manifests.read(release).environment
    except FileNotFoundError as error:
        raise StepError(
            f"cannot build the environment: {release} was not fetched completely; fetch it again"
        ) from error
    expected = environment_digest(wanted.python, wanted.requirements, wanted.modelserver, wanted.pins)
    if order.digest != wanted.digest or order.digest != expected:
        raise StepError(
            f"cannot build the environment {order.digest}: the release needs {wanted.digest}; fetch it again"
        )
    if order.require_hashes:
        if wanted.pins is None:
            raise StepError(
                "cannot build the environment: the model was fetched before hashes were asked for; fetch it again"
            )
        hashes.refuse_unhashed(wanted.requirements)
    if (environment / VENV).is_dir():
        shut_out(environment / VENV)
    why = built.why_incomplete(environment, order.digest, order.pinned)
    if why is None:
        return f"environment {order.digest} is complete; content={built.content(environment / VENV)[1]}"
    say(f"building environment {order.digest}, which {why}")
    # The record goes first: without it nothing else counts. What is there is not touched before there is better: if
    # somebody damaged it, a server may still run in it.
    for leftover in (COMPLETE, unfinished(Path(COMPLETE)), OLD, *SCRATCH):
        tree.remove(environment / leftover)
    free = tree.free_bytes(environment)
    if free < order.keep_free:
        raise StepError(
            f"cannot build the environment: {human_size(free)} are free on this host and "
            f"{human_size(order.keep_free)} stay free; make room on the host"
        )
    sync_directory(environment)
    login = uv.index_login(order.sources)
    python = uv.find_python(wanted.python, environment)
    venv = environment / NEW
    try:
        _install(venv, wanted, python, order.sources, login)
        server = _add_server(venv)
        _compile(venv)
        packages = _packages(venv)
        shut_out(venv)
        _take_the_place(environment)
    finally:  # what failed must not take the room that the next try needs
        for leftover in SCRATCH:
            tree.remove(environment / leftover)
    tree.sync_below(environment)
    complete = built.record(environment, order.digest, python, packages, server)
    return (
        f"built environment {order.digest}: Python {wanted.python}, {len(packages)} packages, {complete.entries} files"
        f"; content={complete.content}"
    )


def _take_the_place(environment: Path) -> None:
    if (environment / VENV).exists():
        (environment / VENV).rename(environment / OLD)
    (environment / NEW).rename(environment / VENV)
    tree.remove(environment / OLD)


def _install(venv: Path, wanted: Environment, python: str, sources: uv.Sources, login: str) -> None:
    environment = venv.parent
    own, server = environment / "requirements.txt", server_package() / SERVER_REQUIREMENTS
    own.write_text("".join(f"{line}\n" for line in wanted.requirements))
    needs = ["--requirement", str(server)]
    if wanted.pins is not None:
        listed, known = hashes.server_needs(wanted.requirements, server_package())
        for name, lines in ((PINNED, listed), (KNOWN, known)):
            (environment / name).write_text("".join(f"{line}\n" for line in lines))
        needs = [
            "--require-hashes",
            "--requirement",
            str(environment / PINNED),
            "--constraint",
            str(environment / KNOWN),
        ]
    try:
        uv.run("venv", "--no-project", "--relocatable", "--python", python, str(venv), cwd=environment)
        install = ["pip", "install", "--python", str(venv / "bin" / "python"), *sources.arguments()]
        uv.run(*install, "--requirement", str(own), *needs, cwd=environment, login=login)
    except uv.UvError as error:
        if uv.is_conflict(error):
            _blame_the_server(error, venv, own, server, sources, login)
        raise uv.explain(error, "the model's requirements", sources) from error


def _blame_the_server(error: uv.UvError, venv: Path, own: Path, server: Path, sources: uv.Sources, login: str) -> None:
    """Raise StepError when the model's requirements can be met, only not together with the server's own few."""
    environment = venv.parent
    resolve = ["pip", "compile", "--quiet", "--no-header", "--python", str(venv / "bin" / "python")]
    resolve += sources.arguments()
    try:
        uv.run(*resolve, str(own), cwd=environment, login=login)
    except uv.UvError:
        return  # they cannot be met alone either, and the first error says why
    needs = [line for line in server.read_text().splitlines() if line.strip() and not line.startswith("#")]
    culprits = [line for line in needs if not _resolves_with(line, environment, own, resolve, login)]
    raise StepError(
        f"cannot build the environment: the model's requirements contradict what the server itself needs "
        f"({', '.join(culprits or needs)}): {uv.because(error)}; log the model with other versions"
    ) from error


def _resolves_with(line: str, environment: Path, own: Path, resolve: list[str], login: str) -> bool:
    together = environment / "together.txt"
    together.write_text(f"{own.read_text()}{line}\n")
    try:
        uv.run(*resolve, str(together), cwd=environment, login=login)
    except uv.UvError:
        return False
    finally:
        together.unlink()
    return True


def _add_server(venv: Path) -> str:
    """Copy the installed model server into the environment; return its digest."""
    package = server_package()
    target = next((venv / "lib").glob("python3.*")) / "site-packages" / "modelserver"
    if target.exists():
        raise StepError("cannot build the environment: a package of the model brings its own 'modelserver'; rename it")
    for path in server_sources(package):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(package / path, target / path)
    return server_digest(target)


def _compile(venv: Path) -> None:
    python = venv / "bin" / "python"
    # -S: with `site` loaded, the .pth files of foreign packages would run here.
    command = [str(python), "-I", "-S", "-m", "compileall", "-q", "-j", "0", "lib"]
    done = subprocess.run(command, cwd=venv, capture_output=True, text=True, check=False)  # noqa: S603 - fixed
    if done.returncode != 0:  # templates and examples in packages need not be Python; they are never imported
        say(f"some files were not compiled to bytecode: {done.stdout.strip().splitlines()[-1:] or done.stderr[-200:]}")


def _packages(venv: Path) -> tuple[str, ...]:
    """Name what was installed, from its own records: to ask uv could start the interpreter and with it foreign code."""
    records = next((venv / "lib").glob("python3.*")).glob("site-packages/*.dist-info")
    pairs = (record.name.removesuffix(".dist-info").partition("-") for record in records if record.is_dir())
    return tuple(sorted(f"{name.replace('_', '-').lower()}=={version}" for name, _, version in pairs))
