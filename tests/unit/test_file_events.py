"""File events of the real kernel: a directory that goes and comes again is watched again."""

import shutil
import threading
from pathlib import Path

import pytest

from reconciler.adapters.file_events import FileEvents


@pytest.mark.parametrize("there", ["from the beginning", "later"])
def test_a_directory_that_is_made_anew_is_watched_again(tmp_path: Path, there: str) -> None:
    """The watch of the former one ended with it."""
    directory, woken, events = tmp_path / "run", threading.Event(), FileEvents()
    if there == "from the beginning":
        directory.mkdir()
    events.on_replacement(directory, woken.set)
    events.start()
    try:
        for number in range(3):
            shutil.rmtree(directory, ignore_errors=True)
            events.refresh()
            directory.mkdir()
            (directory / "kept").touch()
            events.refresh()
            woken.clear()
            (directory / f"file{number}").touch()
            assert woken.wait(20)
    finally:
        events.close()
