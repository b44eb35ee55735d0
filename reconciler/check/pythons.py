"""Looks over the Pythons that environments can be made from: the host's own, and those that uv may download."""

import json
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reconciler.check.host import Finding
from reconciler.core.text.python_versions import number
from reconciler.core.units import paths
from reconciler.files.installed_pythons import PLACES, installed_pythons
from reconciler.settings.model import BuildSettings, Settings
from reconciler.steps.python_list import DOWNLOADS, PythonSettings, offered, query, why_no_list


@dataclass(frozen=True)
class Pythons:
    """Minor versions of Python that a model may have been made with."""

    here: tuple[str, ...]
    downloads: tuple[str, ...]


def pythons(settings: Settings) -> Pythons:
    """List the versions, without running any of them; those that the model server does not run on are left out."""
    here = installed_pythons(PLACES)
    downloads = {*_downloads(settings.build)} - {*here}
    return Pythons(here, tuple(sorted(downloads, key=number)))


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
