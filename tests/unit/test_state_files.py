"""What somebody puts in the place of the reconciler's own files: put aside once, told once, and never waited for."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from reconciler.core.state.status import State
from tests.unit.conftest import World

pytestmark = pytest.mark.timeout(60)

FILES = ("ledger.json", "snapshot.json", "history.json")


def _directory(path: Path) -> None:
    (path / "more").mkdir(parents=True)


def _endless_link(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


def _of_another(path: Path) -> None:
    path.write_text('{"schema": 1}')
    os.chown(path, 12345, 12345)


PUT: dict[str, Callable[[Path], object]] = {
    "a directory": _directory,
    "a pipe": os.mkfifo,
    "a link to an endless device": _endless_link,
    "a file larger than any": _huge,
    "another user's file": _of_another,
    "nonsense": lambda path: path.write_bytes(b"\\xff\\x00"),
}
BEFORE: dict[str, Callable[[Path], object]] = {
    "nothing": lambda _path: None,
    "a file": lambda path: path.write_text("older"),
    "a directory": _directory,
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("put", list(PUT))
@pytest.mark.parametrize("before", list(BEFORE))
def test_what_is_no_file_of_ours_is_put_aside_once_and_told_once(
    world: World, file: str, put: str, before: str
) -> None:
    """Whatever was put aside before; models serve on, and what is written from then on is used by the next start."""
    if put == "another user's file" and os.geteuid() != 0:
        pytest.skip("only root can make one")
    world.select(demo=1)
    world.converge()
    path = world.state / file
    path.unlink()
    PUT[put](path)
    BEFORE[before](aside := world.state / f"{file}.unusable")
    with capture_logs() as told:
        world.new_reconciler()
        world.select(demo=1, more=1)
        world.converge()
        world.new_reconciler()
        world.converge()
    assert {one.state for one in world.status().values()} == {State.SERVING}
    assert len([one for one in told if "cannot use the" in one["event"]]) == 1, told
    assert path.is_file()
    assert not path.is_symlink()
    assert os.path.lexists(aside)
    assert not (aside / "more").exists() or put == "a directory"


@pytest.mark.parametrize("put", ["a directory", "a pipe", "a link to an endless device", "nonsense"])
def test_a_status_that_cannot_be_read_is_written_anew(world: World, put: str) -> None:
    """It is what people and the agent look at."""
    world.select(demo=1)
    world.converge()
    path = world.directory / "status.json"
    path.unlink()
    PUT[put](path)
    world.new_reconciler()
    world.converge()
    assert world.status()["demo"].state is State.SERVING


def test_what_cannot_be_written_down_is_tried_again_later(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pass would try it anew, and each failure cause another pass."""
    tries = 0

    def refuse(_ledger: object) -> None:
        nonlocal tries
        tries += 1
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(world.reconciler.ledger, "note", refuse)
    world.select(demo=1)
    for _ in range(50):
        world.reconciler.one_pass()
        world.systemd.settle()
    assert 0 < tries < 5
    monkeypatch.undo()
    world.now += 1000
    world.converge()
    assert world.status()["demo"].state is State.SERVING


@pytest.mark.parametrize("harm", ["emptied", "a pipe", "a link to an endless device", "a directory", "removed"])
@pytest.mark.parametrize("which", ["the unit", "its copy"])
def test_a_unit_survives_what_somebody_does_to_one_of_its_two_files(world: World, which: str, harm: str) -> None:
    """It is restored from its copy; a copy that says nothing is not restored from."""
    world.select(demo=1)
    world.converge()
    (unit,) = world.etc.glob("model-demo@*.service")
    path = unit if which == "the unit" else world.state / "rendered" / unit.name
    right = unit.read_text()
    path.unlink()
    if harm == "emptied":
        path.touch()
    elif harm != "removed":
        PUT[harm](path)
    world.new_reconciler()
    world.converge()
    assert unit.read_text() == right
    assert world.status()["demo"].state is State.SERVING
