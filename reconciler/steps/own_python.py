"""Puts a downloaded interpreter into the environment that was made from it, so that the two are one from then on.

What is in the environment is recorded by root, compared before each start, handed over and removed with it. Before that
the interpreter is apart, where no package can come: the build runs it, and runs nothing that packages can change.
"""

import os
import re
import shutil
from pathlib import Path

from reconciler.steps.step_report import StepError
from reconciler.steps.subprocesses import Room

PYTHON = "python"
"""The interpreter's directory in the environment."""
_HOME = re.compile(r"^home = .*$", re.MULTILINE)


def move_in(venv: Path, tree: Path, final: Path, room: Room) -> str:
    """Copy an interpreter into the environment `venv`, and have the environment's Python be that copy.

    `final` is where the environment will be: pyvenv.cfg has an absolute path. Return the path of the program there.
    Raises StepError when a package is in the way or there is no room.
    """
    own = venv / PYTHON
    if os.path.lexists(own):
        raise StepError(
            f"cannot build the environment: a package brings {PYTHON!r}, which is the place of the interpreter; "
            "log the model without that package, or with a version of it that installs nothing there"
        )
    shutil.copytree(tree, own, symlinks=True)
    short = room.why_short()
    if short:
        raise StepError(f"cannot build the environment: {short}; make room on the host")
    link = venv / "bin" / "python"
    program = link.readlink().name
    link.unlink()
    link.symlink_to(f"../{PYTHON}/bin/{program}")
    configuration = venv / "pyvenv.cfg"
    text, count = _HOME.subn(f"home = {final}/{PYTHON}/bin", configuration.read_text())
    if count != 1:
        raise StepError("cannot build the environment: uv wrote another pyvenv.cfg than is known; upgrade the product")
    configuration.write_text(text)
    return f"{final}/{PYTHON}/bin/{program}"
