"""What was read of a unit is kept as long as nothing says that it changed, and never for good."""

import dataclasses

import pytest

from reconciler.adapters.kept_units import AFTER_A_DOUBT, AGAIN, KEPT_FOR, KeptUnits
from reconciler.adapters.unit_reading import Row
from reconciler.core.state.status import State
from reconciler.core.units import names
from reconciler.core.units.observed import Unit
from tests.unit.conftest import World
from tests.unit.rollouts import active


class Bus:
    """Units that change, and what was read of them."""

    def __init__(self, number: int) -> None:
        self.now = 1000.0
        self.read: list[str] = []
        self.texts = {names.server_unit(f"m{index:03d}", "1.00000000"): "first" for index in range(number)}
        self.subs = dict.fromkeys(self.texts, "running")
        self.breaks = False
        self.kept = KeptUnits(self._read, lambda: self.now)

    def _read(self, row: Row) -> Unit:
        if self.breaks:
            raise OSError("the bus is gone")
        self.read.append(row.name)
        return dataclasses.replace(row.plain, status_text=self.texts[row.name])

    def look(self) -> dict[str, Unit]:
        """Look, and forget what earlier looks read."""
        self.read = []
        return self.kept.look(lambda: [Row(name, "loaded", "active", sub) for name, sub in self.subs.items()])


ONE = names.server_unit("m000", "1.00000000")


@pytest.fixture
def bus() -> Bus:
    """Three units, looked at once."""
    bus = Bus(3)
    bus.look()
    return bus


def test_a_unit_of_which_nothing_is_told_is_not_read_again(bus: Bus) -> None:
    """And is shown as it was read."""
    bus.texts[ONE] = "second"
    assert bus.look()[ONE].status_text == "first"
    assert bus.read == []


def test_a_unit_that_changed_is_read_once(bus: Bus) -> None:
    """Whether it is told by a signal or by the list of units."""
    bus.texts[ONE] = "second"
    bus.kept.note_change(ONE)
    assert bus.look()[ONE].status_text == "second"
    assert bus.read == [ONE]
    bus.subs[ONE] = "exited"
    assert bus.look()[ONE].sub == "exited"
    assert bus.read == [ONE]
    bus.look()
    assert bus.read == []


def test_what_changes_while_it_is_read_is_read_in_the_next_look(bus: Bus) -> None:
    """The signal comes after the list of units was asked for."""

    def rows() -> list[Row]:
        bus.kept.note_change(ONE)
        return [Row(name, "loaded", "active", sub) for name, sub in bus.subs.items()]

    bus.kept.look(rows)
    bus.texts[ONE] = "second"
    assert bus.look()[ONE].status_text == "second"


def test_a_unit_that_is_gone_is_forgotten(bus: Bus) -> None:
    """One that comes back under its name is another."""
    del bus.subs[ONE]
    assert ONE not in bus.look()
    bus.subs[ONE] = "running"
    bus.look()
    assert bus.read == [ONE]


def test_all_are_read_when_changes_may_have_been_missed(bus: Bus) -> None:
    """As after a time without signals."""
    bus.kept.forget()
    bus.look()
    assert sorted(bus.read) == sorted(bus.texts)


def test_all_are_read_after_a_look_that_broke_off(bus: Bus) -> None:
    """Nobody knows any more what had changed."""
    bus.kept.note_change(ONE)
    bus.breaks = True
    with pytest.raises(OSError, match="gone"):
        bus.look()
    bus.breaks = False
    bus.look()
    assert sorted(bus.read) == sorted(bus.texts)


@pytest.mark.parametrize("reason", ["a reload", "age"])
def test_what_is_in_doubt_is_read_again_a_part_in_each_look(reason: str) -> None:
    """Those first that were read longest ago, so that every one has its turn."""
    bus = Bus(AGAIN * 2 + 1)
    bus.look()
    if reason == "a reload":
        bus.kept.note_doubt()
        bus.now += AFTER_A_DOUBT + 1
    else:
        bus.now += KEPT_FOR + 1
    parts: list[list[str]] = []
    for _ in range(4):
        bus.look()
        parts.append(bus.read)
        bus.now += 1
    assert [len(part) for part in parts] == [AGAIN, AGAIN, 1, 0]
    assert sorted(name for part in parts for name in part) == sorted(bus.texts)


def test_a_unit_of_which_only_the_row_is_read_is_in_no_doubt() -> None:
    """It costs no call, and takes no turn of another."""
    bus = Bus(1)
    bus.texts[ONE] = ""
    bus.look()
    bus.now += KEPT_FOR + 1
    bus.look()
    assert bus.read == []


def test_a_change_that_no_signal_told_is_noticed_all_the_same(world: World) -> None:
    """A server steps aside by itself, and nobody is told. It is told to come back, when what was kept is in doubt."""
    world.select(demo=1)
    world.converge()
    server = active(world)
    world.systemd.hold_signals()
    world.systemd.says(server, "standing by as demo")
    world.systemd.hold_signals(False)
    world.reconciler.one_pass()
    assert world.systemd.status_text(server).startswith("standing by")
    world.now += KEPT_FOR + 1
    world.converge()
    assert world.systemd.status_text(server).startswith("answering")
    assert world.status()["demo"].state is State.SERVING


def test_a_crash_that_no_signal_told_is_noticed_in_the_next_pass(world: World) -> None:
    """The state of a unit is in the list, which each pass asks for."""
    world.select(demo=1)
    world.converge()
    server = active(world)
    world.systemd.hold_signals()
    world.systemd.crash(server)
    assert world.systemd.units()[server].sub == "auto-restart"
