"""What is imported is not looked through for garbage; what a model makes is."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from pathlib import Path

import pytest

from modelserver.garbage import imports_stay, keep_what_is_loaded

LOADED = """
import gc, sys
from pathlib import Path
from modelserver.model.loading import load_model
from modelserver.model.tracing import Tracing
looks = []
gc.callbacks.append(lambda phase, about: looks.append("mlflow.pyfunc.scoring_server" in sys.modules))
load_model(Path(sys.argv[1]), Tracing.from_environment())
print(looks.count(False), looks.count(True), gc.get_freeze_count() > 50_000, gc.isenabled())
"""


class Loop:
    """Garbage that only a look finds."""

    def __init__(self) -> None:
        """Holds itself."""
        self.itself = self


def test_garbage_of_later_is_found_again() -> None:
    """Also when the block ends with an exception."""
    try:
        with imports_stay():
            assert not gc.isenabled()
            raise KeyError
    except KeyError:
        pass
    assert gc.isenabled()
    later = weakref.ref(Loop())
    gc.collect()
    assert later() is None
    before = weakref.ref(Loop())
    keep_what_is_loaded()
    assert before() is None
    gc.unfreeze()


def test_nobody_looks_while_mlflow_is_imported(models: Path) -> None:
    """A model's own code is loaded with the collector at work."""
    command = [sys.executable, "-W", "ignore", "-c", LOADED, str(models / "echo")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(done.stderr)
    during, after, frozen, enabled = done.stdout.split()[-4:]
    assert (int(during) == 0, int(after) > 0, frozen, enabled) == (True, True, "True", "True")
