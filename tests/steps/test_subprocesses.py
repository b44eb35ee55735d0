"""What foreign code does that runs while it is built: nothing of it goes on afterwards, nor does it fill the disk."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.steps import wheels
from tests.steps.step import Ended, Steps
from tests.steps.test_build import arguments, release

LEAVES = """
import json, os, signal, sys, time

seen = ""

def leave(act):
    '''Do something in a process that has lost its parent and its session, and go on when it does it.'''
    global seen
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            for descriptor in range(3):  # or the build waits for them, and is ended by its unit's deadline
                os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
            act()
            os.write(writer, f"{os.getpid()} ".encode())
            while True:
                signal.pause()
        os._exit(0)
    os.wait()
    seen += os.read(reader, 100).decode()

"""
HIDDEN = "import ctypes; leave(lambda: ctypes.CDLL(None).prctl(4, 0, 0, 0, 0))\n"
DEAF = "leave(lambda: [signal.signal(number, signal.SIG_IGN) for number in (1, 2, 13, 15)])\n"
# It is the parent of what its own children lose.
FAMILY = "import ctypes; leave(lambda: (ctypes.CDLL(None).prctl(36, 1, 0, 0, 0), leave(lambda: None)))\n"
KEPT = "leave(lambda: None)\n"
BEHIND = {"plain": KEPT, "deaf": DEAF, "hidden": HIDDEN, "family": FAMILY, "many": KEPT * 20}


def built(tmp_path: Path, run: Steps, building: str, *more: str) -> Ended:
    """Build a package that does something while it is built."""
    house = tmp_path / "house"
    wheels.server_needs(house)
    wheels.source(house, "leaver", "1.0", building)
    made = release(tmp_path / "release", "leaver")
    return run(tmp_path / "environment", *arguments(made, house, "--allow-source", *more))


def seen(tmp_path: Path) -> str:
    """What the package saw while it was built."""
    (found,) = (tmp_path / "environment/venv").glob("lib/python3.*/site-packages/leaver/seen")
    return found.read_text()


@pytest.mark.parametrize("how", BEHIND)
def test_no_process_outlives_a_build(tmp_path: Path, run: Steps, how: str) -> None:
    """However it got away from its parents."""
    ended = built(tmp_path, run, LEAVES + BEHIND[how])
    assert ended.code == 0, ended.output
    left = [int(pid) for pid in seen(tmp_path).split()]
    assert len(left) == (20 if how == "many" else 1)
    assert [pid for pid in left if Path(f"/proc/{pid}").exists()] == []
    assert "processes that were left behind" in ended.output


def test_what_runs_in_a_build_is_told_nothing_of_the_unit(tmp_path: Path, run: Steps) -> None:
    """Neither where credentials are nor how to speak to systemd."""
    ended = built(tmp_path, run, "import json, os; seen = json.dumps(dict(os.environ))")
    assert ended.code == 0, ended.output
    told = json.loads(seen(tmp_path))
    assert {"PATH", "HOME"} <= told.keys()
    assert not {"CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "STATE_DIRECTORY", "CACHE_DIRECTORY"} & told.keys()
    assert told["NETRC"] == "/dev/null"


@contextmanager
def disk(place: Path, size: str) -> Iterator[None]:
    """A file system of its own."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    place.mkdir()
    subprocess.run(["/usr/bin/mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["/usr/bin/umount", str(place)], check=True)


KEEP = ("--keep-free", str(64 * 1024**2))
FILLS = """
import os, signal
with open({place!r}, "wb") as file:
    os.posix_fallocate(file.fileno(), 0, {size})
signal.alarm(60)  # without an end the test could not fail
signal.pause()
"""


@pytest.mark.parametrize("place", ["here", "../../../left"])
def test_a_build_that_takes_the_room_that_stays_free_is_ended(tmp_path: Path, run: Steps, place: str) -> None:
    """At once, not when it is done: this one never is. What it wrote is removed."""
    state = tmp_path / "environment"
    with disk(state, "128m"):
        where = "here" if place == "here" else str(state / "left")
        ended = built(tmp_path, run, FILLS.format(place=where, size=80 * 1024**2), *KEEP)
        assert ended.code == 1
        assert ended.status == (
            "cannot build the environment: less than the 64.0 MiB that stay free on this host would be left; "
            "make room on the host, or log the model with smaller packages"
        )
        assert not [*state.iterdir()]


def test_a_small_wheel_of_large_files_is_refused(tmp_path: Path, run: Steps) -> None:
    """One would fit on the disk, but not beside what stays free; the other's many files need hardly any bytes."""
    state, house = tmp_path / "environment", tmp_path / "house"
    wheels.server_needs(house)
    wheels.wheel(house, "large", "1.0", files={"large/zeros": bytes(80 * 1024**2)})
    wheels.wheel(house, "many", "1.0", files={f"many/{number}": b"" for number in range(3000)})
    assert (house / "large-1.0-py3-none-any.whl").stat().st_size < 1024**2
    for name, size, why in (("large", "128m", "less than the 64.0 MiB"), ("many", "128m,nr_inodes=3400", "so many")):
        with disk(state, size):
            ended = run(state, *arguments(release(tmp_path / name, name), house, *KEEP))
            assert ended.code == 1, ended.output
            assert why in ended.status
            assert "make room on the host" in ended.status
            assert not [*state.iterdir()]
            if name == "large":
                fits = run(state, *arguments(release(tmp_path / name, name), house))
                assert fits.code == 0, fits.output
        state.rmdir()
