"""What a pass costs does not grow with the number of deployments, or grows with it and not faster."""

import time

import pytest

from reconciler.core.state.status import State
from reconciler.files.stamps import SETTLED_AFTER
from tests.unit import many
from tests.unit.conftest import World

MOST_CALLS = 5
MOST_FILES = 5
"""Of a pass with nothing to do, whatever the number of deployments."""
READ_OF_EACH = 32
"""Properties that the whole first rollout of one deployment reads, each state of its units seen once."""


@pytest.mark.parametrize("number", [10, 1000])
def test_a_first_rollout_is_linear_and_a_pass_after_it_asks_and_reads_next_to_nothing(
    world: World, number: int
) -> None:
    """Counted: passes, calls over the bus, servers that load at once, files that are opened."""
    world.settings = many.settings()
    world.new_reconciler()
    many.select(world, number)
    passes, most = many.roll_out(world)
    assert {one.state for one in world.status().values()} == {State.SERVING}
    assert len(world.status()) == number
    assert most == min(number, many.STARTS)
    # Three steps and a load each, so many at once, and a few passes for what comes between.
    assert passes <= 3 * number / many.STEPS + number / many.STARTS + 8
    assert world.systemd.calls["ListUnitsByPatterns"] <= 2 * passes
    assert world.systemd.calls["Get"] <= READ_OF_EACH * number

    wait_until_settled(world)
    assert not world.reconciler.one_pass()
    world.systemd.calls.clear()
    with many.opened() as files:
        assert not world.reconciler.one_pass()
    assert 0 < world.systemd.calls.total() <= MOST_CALLS
    assert 0 < len(files) <= MOST_FILES, files


def wait_until_settled(world: World) -> None:
    """Wait until the files are old enough for their stamps to be believed."""
    latest = max(path.lstat().st_ctime_ns for path in world.etc.iterdir())
    while time.time_ns() - latest <= SETTLED_AFTER:
        assert not world.reconciler.one_pass()


def test_a_rollout_of_one_reads_nothing_of_the_others(world: World) -> None:
    """However many there are."""
    world.settings = many.settings()
    world.new_reconciler()
    read = []
    for number in (2, 20):
        many.select(world, number)
        many.roll_out(world)
        versions = {f"m{index:04d}": 1 for index in range(number)} | {"m0000": number}
        world.select(**versions)
        world.systemd.calls.clear()
        many.roll_out(world)
        assert world.status()["m0000"].active_version == str(number)
        read.append(world.systemd.calls["Get"])
    assert read[0] == read[1] > 0
