"""A reconciler that runs for months: thousands of passes and hundreds of rollouts leave nothing behind."""

import gc
import os
import threading
import tracemalloc
from dataclasses import dataclass
from pathlib import Path

import pytest

from reconciler.core.planner import unit_values
from reconciler.core.state.status import State
from reconciler.core.units import names
from tests.unit import many
from tests.unit.conftest import World

PASSES, ROLLOUTS = 10_000, 500
HALF_A_MEBIBYTE = 2**19
"""More than what differs from one look to the next by chance, as Python counts it."""
SIX_MEBIBYTES = 6 * 2**20
"""The same, as the kernel counts it: 12 KB for each rollout, or 600 bytes for each pass, would show."""
SECONDS = 30
"""Between two passes, on the clock of the host."""


@dataclass(frozen=True)
class Held:
    """What the process holds."""

    memory: int
    descriptors: int
    threads: int


def held() -> Held:
    """Look, after everything that is not needed is let go."""
    # Both are remembered up to a limit that this run does not reach.
    names._meaning.cache_clear()
    unit_values.digest_of_watch.cache_clear()
    gc.collect()
    memory = tracemalloc.get_traced_memory()[0] if tracemalloc.is_tracing() else resident()
    return Held(memory, len([*Path("/proc/self/fd").iterdir()]), threading.active_count())


def resident() -> int:
    """The memory of this process that is in use, in bytes, as the kernel counts it."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def pass_by(world: World, passes: int) -> None:
    """Let so many passes find nothing to do, or to verify files again."""
    for _ in range(passes):
        world.now += SECONDS
        world.reconciler.one_pass()
        world.systemd.settle()


def roll_out(world: World, first: int, rollouts: int) -> None:
    """Promote so many versions, each of which takes over from the one before."""
    for version in range(first, first + rollouts):
        world.select(steady=1, busy=version)
        many.roll_out(world)
        assert world.status()["busy"].active_version == str(version)


def test_memory_descriptors_and_threads_stay_as_they_are_after_a_warm_up(world: World) -> None:
    """The ledger, the history and all that is kept of units are as large after many rollouts as before."""
    tracemalloc.start()
    try:
        assert growth(world, warm_up=12, rollouts=24, passes=150) < HALF_A_MEBIBYTE
    finally:
        tracemalloc.stop()


@pytest.mark.by_hand
@pytest.mark.timeout(600)
def test_ten_thousand_passes_and_five_hundred_rollouts_leave_nothing_behind(world: World) -> None:
    """The same, for as long as a host may run without a restart; counting each object would take too long."""
    assert growth(world, warm_up=50, rollouts=ROLLOUTS, passes=PASSES) < SIX_MEBIBYTES


def growth(world: World, warm_up: int, rollouts: int, passes: int) -> int:
    """Return by how many bytes the process grows in so many rollouts and passes; nothing else may grow."""
    world.settings = many.settings()
    world.new_reconciler()
    roll_out(world, 1, warm_up)
    pass_by(world, warm_up)
    before = held()
    roll_out(world, warm_up + 1, rollouts)
    pass_by(world, passes)
    after = held()
    assert {one.state for one in world.status().values()} == {State.SERVING}
    assert (after.descriptors, after.threads) == (before.descriptors, before.threads)
    assert len([*world.etc.iterdir()]) < 20
    return after.memory - before.memory
