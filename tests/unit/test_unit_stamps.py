"""A unit's file is read again only when it may have changed, and every change counts."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.apply.unit_files import UnitFiles
from reconciler.core.state.status import State
from tests.unit.conftest import World
from tests.unit.many import opened

UNIT = "model-demo.socket"
TEXT = "[Socket]\nListenStream=1\n\n[X-Mlflow-Reconciler]\nDeployment=demo\nPort=20001\n"
LATER = 10**18
"""Nanoseconds that pass at once."""


@pytest.fixture
def ahead() -> list[int]:
    """How many nanoseconds the clock of `files` is ahead of the file system's."""
    return [LATER]


@pytest.fixture
def files(tmp_path: Path, ahead: list[int]) -> UnitFiles:
    """One unit and its copy."""
    (tmp_path / "etc").mkdir()
    files = UnitFiles(tmp_path / "etc", tmp_path / "rendered", nanoseconds=lambda: time.time_ns() + ahead[0])
    files.write(UNIT, TEXT)
    assert files.observe().files[UNIT].intact
    return files


def edit(path: Path) -> None:
    """Change one letter in place, and put the time of the change back."""
    before = path.stat()
    with path.open("r+") as file:
        file.write("[socket]")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(path: Path) -> None:
    """Put another file in its place."""
    new = path.with_name("new")
    new.write_text(TEXT.replace("20001", "20002"))
    new.replace(path)


def mask(path: Path) -> None:
    """Mask the unit as systemctl does."""
    path.unlink()
    path.symlink_to("/dev/null")


def add_drop_in(path: Path) -> None:
    """Put a directory of drop-ins beside it."""
    path.with_name(f"{path.name}.d").mkdir()


def test_a_file_that_is_as_it_was_is_not_opened(files: UnitFiles) -> None:
    """What is seen is the same object."""
    first = files.observe()
    with opened() as names:
        assert files.observe() is first
    assert names == []


@pytest.mark.parametrize("change", [edit, replace, mask, add_drop_in, Path.unlink])
def test_every_change_of_a_unit_is_seen_and_every_way_back(
    files: UnitFiles, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    """Also one that leaves size and time as they were."""
    change(tmp_path / "etc" / UNIT)
    seen = files.observe().files[UNIT]
    assert not seen.intact or seen.drop_ins
    assert seen.masked == (change is mask)
    files.remove_drop_ins(UNIT)
    files.install(UNIT)
    seen = files.observe().files[UNIT]
    assert seen.intact
    assert (seen.masked, seen.drop_ins) == (False, False)


@pytest.mark.parametrize("seconds", [0, -3600])
def test_a_file_that_may_have_changed_within_its_time_stamp_is_read_again(
    files: UnitFiles, tmp_path: Path, ahead: list[int], seconds: int
) -> None:
    """It was written just now, or the clock was put back."""
    ahead[0] = seconds * 10**9
    (tmp_path / "etc" / UNIT).touch()
    files.observe()
    with opened() as names:
        files.observe()
    assert str(tmp_path / "etc" / UNIT) in names


def test_what_a_link_leads_to_may_change_at_any_time(files: UnitFiles, tmp_path: Path) -> None:
    """The link itself does not show it."""
    elsewhere, path = tmp_path / "elsewhere", tmp_path / "etc" / UNIT
    elsewhere.write_text(TEXT)
    path.unlink()
    path.symlink_to(elsewhere)
    assert files.observe().files[UNIT].intact
    elsewhere.write_text(TEXT.replace("20001", "20002"))
    assert not files.observe().files[UNIT].intact


def test_a_file_of_a_thousand_is_repaired_however_old(world: World) -> None:
    """The stamps are a reconciler's own: another pass of the same one repairs what is edited."""
    world.select(demo=1)
    world.converge()
    socket = world.etc / UNIT
    right = socket.read_text()
    for _ in range(3):
        edit(socket)
        assert world.reconciler.one_pass()
        assert socket.read_text() == right
    world.converge()
    assert world.status()["demo"].state is State.SERVING
