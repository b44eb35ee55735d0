"""Digests of the first fetch over the fake systemd: root's, shown to units, kept while the deployment is there."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from reconciler.core.planner import actions as act
from reconciler.core.state.ledger import Stall
from reconciler.core.state.status import State
from reconciler.core.units import names
from tests.unit.conftest import World


def test_what_was_fetched_first_is_recorded_before_anything_starts_and_goes_with_the_deployment(world: World) -> None:
    """One file of root's each for the version and for its environment."""
    world.select(demo=1)
    world.converge()
    shown = {path.name.partition(".")[0]: path.read_text().strip() for path in (world.state / "pins").iterdir()}
    assert shown == {"demo": f"{1:064x}", f"{1:032x}": "c" * 64}
    (server,) = world.etc.glob("model-demo@*.service")
    for path in (world.state / "pins").iterdir():
        assert f"BindReadOnlyPaths=-/var/lib/mlflow-reconciler/pins/{path.name}:" in server.read_text()
    world.select()
    world.converge()
    assert not (world.state / "pins").exists()


def test_a_fetch_that_reports_other_files_changes_no_record_and_is_not_served(world: World) -> None:
    """After a boot everything is looked over; the fetch itself should have said no."""
    world.select(demo=1)
    world.converge()
    world.files = lambda _name, _version: "f" * 64
    world.systemd.stop(names.verify_unit("demo", 1))
    (server,) = world.etc.glob("model-demo@*.service")
    for unit in (server.name, names.fetch_unit("demo", 1)):
        world.systemd.stop(unit)
    world.systemd.settle()
    world.converge()
    one = world.status()["demo"]
    assert (one.state, one.reason) == (State.FAILED, "files-changed"), one
    assert "register a new version" in one.message
    assert world.reconciler.ledger.ledger.record("demo").files.popitem()[1] == f"{1:064x}"


def test_a_rebuilt_environment_has_a_new_digest(world: World) -> None:
    """The same packages built twice are not the same bytes."""
    world.select(demo=1)
    world.converge()
    world.content = "d" * 64
    build = names.build_unit(f"{1:032x}")
    world.systemd.stop(build)
    world.systemd.settle()
    world.systemd.start(build)
    world.systemd.settle()
    world.converge()
    assert (world.state / "pins" / f"{1:032x}").read_text() == "d" * 64 + "\n"


def _a_version_s(pins: Path) -> Path:
    return next(path for path in pins.iterdir() if path.name.startswith("demo."))


def _put_a_directory(pins: Path) -> None:
    path = _a_version_s(pins)
    path.unlink()
    (path / "more").mkdir(parents=True)


def _put_a_link(pins: Path) -> None:
    path = _a_version_s(pins)
    path.rename(pins.parent / "elsewhere")
    path.symlink_to(pins.parent / "elsewhere")


def _put_a_pipe(pins: Path) -> None:
    path = _a_version_s(pins)
    path.unlink()
    os.mkfifo(path)


def _put_a_file_for_all(pins: Path) -> None:
    shutil.rmtree(pins)
    pins.write_text("")


def _put_a_link_for_all(pins: Path) -> None:
    pins.rename(pins.parent / "elsewhere")
    pins.symlink_to(pins.parent / "elsewhere")


HARM: dict[str, Callable[[Path], object]] = {
    "all of them removed": shutil.rmtree,
    "one of a version removed": lambda pins: _a_version_s(pins).unlink(),
    "one of an environment removed": lambda pins: (pins / f"{1:032x}").unlink(),
    "one emptied": lambda pins: _a_version_s(pins).write_text(""),
    "another's digest": lambda pins: _a_version_s(pins).write_text(f"{7:064x}\n"),
    "endless": lambda pins: os.truncate(_a_version_s(pins), 1 << 40),
    "unreadable": lambda pins: _a_version_s(pins).chmod(0),
    "writable by all": lambda pins: _a_version_s(pins).chmod(0o666),
    "a directory": _put_a_directory,
    "a link": _put_a_link,
    "a pipe": _put_a_pipe,
    "the directory closed": lambda pins: pins.chmod(0),
    "the directory a file": _put_a_file_for_all,
    "the directory a link": _put_a_link_for_all,
}


@pytest.mark.parametrize("harm", list(HARM))
def test_what_units_compare_with_is_shown_again_before_anything_starts(world: World, harm: str) -> None:
    """Whatever somebody did to it; a server that ended meanwhile is started after that, and nothing else is done."""
    world.select(demo=1)
    world.converge()
    pins = world.state / "pins"
    right = {path.name: path.read_text() for path in pins.iterdir()}
    HARM[harm](pins)
    (server,) = [unit for unit in world.systemd.units() if names.parse_server(unit)]
    world.systemd.stop(server)
    world.systemd.settle()
    done: list[act.Action] = []
    world.reconciler.runner.after_action = lambda _number, action: done.append(action)
    assert world.reconciler.one_pass()
    shown = [one for one in done if isinstance(one, act.ShowPin)]
    assert shown
    assert done[: len(shown)] == shown
    assert {one.unit for one in done if isinstance(one, act.Start)} == {server}
    assert {path.name: path.read_text() for path in pins.iterdir()} == right
    assert {path.lstat().st_mode for path in pins.iterdir()} == {0o100644}
    assert pins.lstat().st_mode == 0o040755
    world.converge()
    assert world.status()["demo"].state is State.SERVING


def test_what_was_left_to_a_person_is_looked_after_once_it_can_start_again(world: World) -> None:
    """It was stalled because no repair helped: the digests were not there."""
    world.select(demo=1)
    world.converge()
    ledger = world.reconciler.ledger
    want = ledger.ledger.record("demo")
    stall = Stall(release=str(want.good), message="cannot keep demo as it should be: something undoes every repair")
    ledger.write(ledger.ledger.with_record("demo", want.model_copy(update={"stalled": stall})))
    world.reconciler.one_pass()
    assert world.status()["demo"].state is State.STALLED
    shutil.rmtree(world.state / "pins")
    world.new_reconciler()
    world.converge()
    assert world.status()["demo"].state is State.SERVING


def test_a_digest_that_cannot_be_shown_is_tried_again_later(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at once and without end; other models are looked after meanwhile."""
    world.select(demo=1)
    world.converge()
    pins, aside = world.state / "pins", world.state / "aside"
    pins.rename(aside)

    def refuse(_name: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(world.reconciler.ledger, "show_pin", refuse)
    world.select(demo=1, other=1)
    world.converge()
    assert {name: one.state for name, one in world.status().items()}["other"] is State.SERVING
    monkeypatch.undo()
    world.now += 1000
    world.converge()
    assert {path.name for path in aside.iterdir()} <= {path.name for path in pins.iterdir()}
