"""Build: make the environment that a model asks for, from wheels, complete or not at all, shared by its digest."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from reconciler.core.text.sizes import human_size
from reconciler.core.units import status_lines
from reconciler.files.atomic import sync_directory
from reconciler.steps import environment_record, hashed_requirements, install, intact, subprocesses, tree, uv
from reconciler.steps import manifest as manifests
from reconciler.steps.environment_record import COMPLETE, VENV
from reconciler.steps.intact import Fresh
from reconciler.steps.requirements import environment_digest, server_digest, server_package, server_sources
from reconciler.steps.sole_access import shut_out
from reconciler.steps.step_report import StepError, say
from reconciler.steps.subprocesses import Room

NEW, OLD = f"{VENV}.new", f"{VENV}.old"
"""What is being made, and what it replaces."""
_WORKERS = 4
"""Processes that compile at once, at most; each takes some hundred megabytes where a package has large files."""


@dataclass(frozen=True)
class Ordered:
    """What the unit asks for."""

    digest: str
    sources: uv.Sources
    keep_free: int
    """Bytes that stay free on the file system: before, while and after something is built."""
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
        hashed_requirements.refuse_unhashed(wanted.requirements)
    if (environment / VENV).is_dir():
        shut_out(environment / VENV)
    why = environment_record.why_incomplete(environment, order.digest, order.pinned)
    if why is None:
        content = environment_record.content(environment / VENV)[1]
        return status_lines.built(f"environment {order.digest} is complete", content)
    say(f"building environment {order.digest}, which {why}")
    # The record goes first: without it nothing else counts. What is there is not touched before there is better: if
    # somebody damaged it, a server may still run in it.
    tree.remove(environment / COMPLETE)
    _tidy(environment)
    free = tree.free_bytes(environment)
    if free < order.keep_free:
        raise StepError(
            f"cannot build the environment: {human_size(free)} are free on this host and "
            f"{human_size(order.keep_free)} stay free; make room on the host"
        )
    sync_directory(environment)
    room, login = Room(environment, order.keep_free), uv.index_login(order.sources)
    try:
        python = uv.find_python(wanted.python, room)
        fresh = install.make(environment / NEW, python, room)
        install.install(fresh, wanted, python, order.sources, login, room)
        # From here on nothing is started but the host's own Python, which reads what is there and runs none of it.
        intact.refuse_changes(fresh)
        server = _add_server(fresh)
        _compile(fresh, python, room)
        packages = _packages(fresh)
        shut_out(environment / NEW)
        _take_the_place(environment)
    finally:  # what failed must not take the room that the next try needs
        _tidy(environment)
    tree.sync_below(environment)
    complete = environment_record.record(environment, order.digest, python, packages, server)
    made_of = f"Python {wanted.python}, {len(packages)} packages, {complete.entries} files"
    return status_lines.built(f"built environment {order.digest}: {made_of}", complete.content)


def _take_the_place(environment: Path) -> None:
    if (environment / VENV).exists():
        (environment / VENV).rename(environment / OLD)
    (environment / NEW).rename(environment / VENV)
    tree.remove(environment / OLD)


def _tidy(environment: Path) -> None:
    """Remove everything but the environment that is or was in use, and its record."""
    for path in environment.iterdir():
        if path.name not in (VENV, COMPLETE):
            tree.remove(path)


def _add_server(fresh: Fresh) -> str:
    """Copy the installed model server into the environment; return its digest."""
    package, target = server_package(), fresh.packages / "modelserver"
    if target.exists():
        raise StepError("cannot build the environment: a package of the model brings its own 'modelserver'; rename it")
    for path in server_sources(package):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(package / path, target / path)
    return server_digest(target)


def _compile(fresh: Fresh, python: str, room: Room) -> None:
    """Compile the sources to bytecode with the host's own interpreter.

    The environment's would begin with whatever pyvenv.cfg names as Python's library. -S: with `site` loaded, .pth files
    would run. -f: bytecode that a package brings gives way to what its sources say.
    """
    workers = min(_WORKERS, len(os.sched_getaffinity(0)))
    command = [python, "-I", "-S", "-m", "compileall", "-q", "-f", "-j", str(workers)]
    command += ["-s", str(fresh.venv), str(fresh.venv / "lib")]
    done = subprocesses.run(command, room=room, environment={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"})
    if done.returncode != 0:  # templates and examples in packages need not be Python; they are never imported
        say(f"some files were not compiled to bytecode: {done.stdout.strip().splitlines()[-1:] or done.stderr[-200:]}")


def _packages(fresh: Fresh) -> tuple[str, ...]:
    """Name what was installed, from its own records: to ask uv could start the interpreter and with it foreign code."""
    records = fresh.packages.glob("*.dist-info")
    pairs = (record.name.removesuffix(".dist-info").partition("-") for record in records if record.is_dir())
    return tuple(sorted(f"{name.replace('_', '-').lower()}=={version}" for name, _, version in pairs))
