"""Looks over the Pythons that environments can be made from: the host's own, and those that uv may download."""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reconciler.check.host import Finding
from reconciler.core.units import paths
from reconciler.settings.model import BuildSettings, Settings
from reconciler.steps.python_list import DOWNLOADS, PythonSettings, can_serve, number, offered, query, why_no_list

PLACES = ("/usr/local/bin", "/usr/bin")
_PROGRAM = re.compile(r"python(3\.[0-9]{1,2})")


@dataclass(frozen=True)
class Pythons:
    """Minor versions of Python that a model may have been made with."""

    here: tuple[str, ...]
    downloads: tuple[str, ...]


def pythons(settings: Settings) -> Pythons:
    """List the versions, without running any of them; those that the model server does not run on are left out."""
    names = (name for place in PLACES for name in _programs(place))
    here = {match[1] for match in map(_PROGRAM.fullmatch, names) if match and can_serve(match[1])}
    downloads = {*_downloads(settings.build)} - here
    return Pythons(tuple(sorted(here, key=number)), tuple(sorted(downloads, key=number)))


def findings(settings: Settings) -> Iterator[Finding]:
    """Find settings about Pythons that no build could use."""
    build = settings.build
    if build.pythons != "managed":
        return
    why = why_no_list(build.python_list) if build.python_list else None
    file = shlex.quote(build.python_list)
    if why:
        yield Finding(
            f"the list of Pythons {build.python_list} {why}",
            f"chown root {file} && chmod go-w {file}, or correct build.python_list",
        )
    is_directory = build.python_mirror.startswith("/")
    if is_directory and not Path(build.python_mirror).is_dir():
        yield Finding(f"there is no directory {build.python_mirror}", "correct build.python_mirror")


def _programs(place: str) -> Iterator[str]:
    try:
        yield from (entry.name for entry in os.scandir(place) if os.access(entry.path, os.X_OK))
    except OSError:
        return


def _downloads(build: BuildSettings) -> list[str]:
    settings = PythonSettings(managed=build.pythons == "managed", list=build.python_list)
    is_usable = settings.managed and not (settings.list and why_no_list(settings.list))
    if not is_usable:
        return []
    command = [f"{paths.PRODUCT_VENV}/bin/uv", "--no-config", "--no-cache", "--offline", *query(settings)]
    try:
        done = subprocess.run(  # noqa: S603 - the product's own program
            command, env=DOWNLOADS, cwd="/", capture_output=True, timeout=30, check=True
        )
        return offered(json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError, KeyError):
        return []  # what is wrong with it, the build says
