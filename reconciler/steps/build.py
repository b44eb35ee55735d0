"""Build: makes the environment that a model needs, complete or not at all. Models with the same needs share it."""

import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from reconciler.core.text.sizes import human_size
from reconciler.core.units import status_lines
from reconciler.files.atomic import sync_directory
from reconciler.steps import (
    environment_record,
    hashed_requirements,
    install,
    intact,
    own_python,
    pythons,
    subprocesses,
    tree,
    uv,
)
from reconciler.steps import manifest as manifests
from reconciler.steps.environment_record import COMPLETE, VENV
from reconciler.steps.intact import Fresh
from reconciler.steps.manifest import MODEL, Environment
from reconciler.steps.python_list import PythonSettings
from reconciler.steps.requirements import environment_digest, server_digest, server_package, server_sources
from reconciler.steps.sole_access import shut_out
from reconciler.steps.step_report import StepError, print_line
from reconciler.steps.subprocesses import Room

NEW, OLD = f"{VENV}.new", f"{VENV}.old"
"""The environment that is being made, and the one that it replaces."""
_WORKERS = 4
"""Processes that compile at once, at most; each takes some hundred megabytes where a package has large files."""


@dataclass(frozen=True)
class BuildOrder:
    """What the unit of the step asks for."""

    digest: str
    sources: uv.Sources
    keep_free: int
    """Bytes that stay free on the file system: before, while and after something is built."""
    pinned: str | None = None
    """What root recorded of the environment when it was built."""
    require_hashes: bool = False
    pythons: PythonSettings = field(default_factory=PythonSettings)
    unpack: Path | None = None
    """Where an interpreter is downloaded to, apart from all packages; below the environment's directory if None."""
    server_wheels: Path = Path(sys.prefix, "server-wheels")
    """Wheels of what the server needs, in the product's own environment: systemd/install.sh puts them there."""


def build(environment_dir: Path, release_dir: Path, order: BuildOrder) -> str:
    """Make `environment_dir` complete for a fetched release; return a line for the status.

    A complete environment is left alone, an incomplete one is begun anew. Invariant: an environment that was in use
    stays until the new one is ready, since a server may still run in it.
    """
    wanted = _wanted(release_dir, order)
    if (environment_dir / VENV).is_dir():
        shut_out(environment_dir / VENV)
    why = environment_record.why_incomplete(environment_dir, order.digest, order.pinned)
    if why is None:
        content = environment_record.content(environment_dir / VENV)[1]
        return status_lines.built(f"environment {order.digest} is complete", content)
    print_line(f"building environment {order.digest}, which {why}")
    # The record goes first: without it nothing else counts.
    tree.remove(environment_dir / COMPLETE)
    _tidy(environment_dir)
    # After tidying: leftovers of an interrupted build may be what fills the disk.
    free = tree.free_bytes(environment_dir)
    if free < order.keep_free:
        raise StepError(
            f"cannot build the environment: {human_size(free)} are free on this host and "
            f"{human_size(order.keep_free)} stay free; make room on the host"
        )
    sync_directory(environment_dir)
    room = Room(environment_dir, order.keep_free)
    login = uv.index_login(order.sources)
    try:
        interpreter = pythons.choose(wanted.python, order.pythons, _unpacked(environment_dir, order), room)
        python = recorded = interpreter.program
        fresh = install.make(environment_dir / NEW, python, room)
        what = install.Order(wanted, release_dir / MODEL, python, order.sources, order.server_wheels, login)
        install.install(fresh, what, room)
        # From here on nothing is started but the Python that it was made from, which reads what is there and runs none
        # of it.
        intact.refuse_changes(fresh)
        server = _add_server(fresh)
        if interpreter.tree:
            recorded = own_python.move_in(fresh.venv, interpreter.tree, environment_dir / VENV, room)
        _compile(fresh, python, room)
        packages = _packages(fresh)
        shut_out(environment_dir / NEW)
        _take_the_place(environment_dir)
    finally:  # a failed build must not take the room that the next try needs
        _tidy(environment_dir)
    tree.sync_below(environment_dir)
    complete = environment_record.record(environment_dir, wanted, recorded, packages, server)
    made_of = f"Python {wanted.python}, {len(packages)} packages, {complete.entries} files"
    return status_lines.built(f"built environment {order.digest}: {made_of}", complete.content)


def _wanted(release_dir: Path, order: BuildOrder) -> Environment:
    """Return what a release needs; raises StepError where that is not what was ordered, or has no hashes."""
    try:
        wanted = manifests.read(release_dir).environment
    except FileNotFoundError as error:
        raise StepError(
            f"cannot build the environment: {release_dir} was not fetched completely; fetch it again"
        ) from error
    # The manifest belongs to the user of the step: its digest must follow from what it lists.
    expected = environment_digest(
        wanted.python, wanted.requirements, wanted.modelserver, wanted.pins, wanted.constraints
    )
    if order.digest != wanted.digest or order.digest != expected:
        raise StepError(
            f"cannot build the environment {order.digest}: the release needs {wanted.digest}; fetch it again"
        )
    if order.require_hashes:
        if wanted.pins is None:
            raise StepError(
                "cannot build the environment: the model was fetched before hashes were asked for; fetch it again"
            )
        hashed_requirements.refuse_unhashed((*wanted.requirements, *wanted.constraints))
    return wanted


def _unpacked(environment_dir: Path, order: BuildOrder) -> Path:
    return order.unpack or environment_dir / "pythons"


def _take_the_place(environment_dir: Path) -> None:
    if (environment_dir / VENV).exists():
        (environment_dir / VENV).rename(environment_dir / OLD)
    (environment_dir / NEW).rename(environment_dir / VENV)
    tree.remove(environment_dir / OLD)


def _tidy(environment_dir: Path) -> None:
    """Remove everything but the environment that is or was in use, and its record."""
    for path in environment_dir.iterdir():
        if path.name not in (VENV, COMPLETE):
            tree.remove(path)


def _add_server(fresh: Fresh) -> str:
    """Copy the installed model server into the environment; return the digest of the copy."""
    package, target = server_package(), fresh.packages / "modelserver"
    if target.exists():
        raise StepError("cannot build the environment: a package of the model brings its own 'modelserver'; rename it")
    for path in server_sources(package):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(package / path, target / path)
    return server_digest(target)


def _compile(fresh: Fresh, python: str, room: Room) -> None:
    """Compile the sources to bytecode, also an own interpreter's library, with what the environment was made from.

    The environment's interpreter would begin with the library that pyvenv.cfg names. -S: with `site` loaded, .pth files
    would run. -f: bytecode that a package brings is replaced by that of its sources.
    """
    workers = min(_WORKERS, len(os.sched_getaffinity(0)))
    command = [python, "-I", "-S", "-m", "compileall", "-q", "-f", "-j", str(workers)]
    # Nobody imports the tests that an interpreter's library has.
    command += ["-x", r"/python/lib/python3[.0-9]*/(test|.*/tests?)/"]
    places = [fresh.venv / "lib", fresh.venv / own_python.PYTHON / "lib"]
    command += ["-s", str(fresh.venv), *(str(place) for place in places if place.is_dir())]
    done = subprocesses.run(command, room=room, environment={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"})
    if done.returncode != 0:  # templates and examples in packages need not be Python; they are never imported
        print_line(
            f"some files were not compiled to bytecode: {done.stdout.strip().splitlines()[-1:] or done.stderr[-200:]}"
        )


def _packages(fresh: Fresh) -> tuple[str, ...]:
    """Name the installed packages, from their own records: uv could start the interpreter and with it foreign code."""
    records = fresh.packages.glob("*.dist-info")
    pairs = (record.name.removesuffix(".dist-info").partition("-") for record in records if record.is_dir())
    return tuple(sorted(f"{name.replace('_', '-').lower()}=={version}" for name, _, version in pairs))
