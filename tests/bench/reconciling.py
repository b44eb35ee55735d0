"""What the reconciler and its commands cost on hosts with up to a thousand deployments.

The passes are those of a whole reconciler over the fake systemd and real files. The commands are whole processes: what
they read of the host is in a mount namespace of their own. `plan` is asked of a reconciler that runs, which is one in
this process, and made by the command alone; systemd's part is the fake one's.
"""

import gc
import logging
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import structlog

from reconciler.core.units.observed import Unit
from reconciler.daemon.operators import OperatorDesk
from reconciler.files.audit_file import AuditFile
from reconciler.files.history_file import HistoryFile
from reconciler.files.request_inbox import RequestInbox
from reconciler.files.stamps import SETTLED_AFTER
from tests.bench.figures import OURS, Figure, Goal
from tests.unit import many
from tests.unit.conftest import CHECKOUT, World, in_memory

DEPLOYMENTS = (10, 100, 1000)
PASSES = 5
"""Passes of one sample."""
RUN = "/run/mlflow-reconciler"
PAUSE = 0.005
"""Seconds between two looks for a request; the daemon is woken by an event."""

CONFIG = """
[policy]
names = ["*"]
max_deployments = 10000
[deploy]
soak = 0
keep_releases = 0
removal_grace = 0
port_range = [20000, 39999]
"""
"""The settings of these hosts, as `many.settings` has them."""

_CPU = "processor time of a pass with nothing to do, {} deployments"
_CALLS = "calls over D-Bus of a pass with nothing to do, {} deployments"
_COMMAND = "`reconciler {}` as a whole process, 1000 deployments"
_ALONE = "`reconciler plan` as a whole process where no reconciler runs, 1000 deployments"

GOALS = (
    Goal(_CPU.format(1000), 0.3, is_lowest=False),
    *(Goal(_CALLS.format(number), 5, is_lowest=False) for number in DEPLOYMENTS),
    Goal(_COMMAND.format("status"), 0.3, is_lowest=False),
    Goal(_COMMAND.format("plan"), 1.0, is_lowest=False),
)


def figures(rounds: int) -> list[Figure]:
    """Measure everything `rounds` times. Needs root, for the mounts."""
    # Its lines are for a journal; here they would be part of the table.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    found: list[Figure] = []
    for number in DEPLOYMENTS:
        with in_memory() as directory:
            world = _serving(directory / "host", number)
            found += _of_passes(world, number, rounds)
            if number == max(DEPLOYMENTS):
                found += _of_commands(world, rounds)
    return found


def _serving(directory: Path, number: int) -> World:
    """A host on which so many deployments serve, and have done so for a while."""
    world = World(directory)
    world.settings = many.settings()
    world.new_reconciler()
    many.select(world, number)
    many.roll_out(world)
    time.sleep(2 * SETTLED_AFTER / 1e9)  # the age of files is what is asked for: there is no condition to wait for
    world.reconciler.one_pass()
    return world


def _of_passes(world: World, number: int, rounds: int) -> list[Figure]:
    seconds, calls = [], []
    # As the daemon does before its first pass.
    gc.collect()
    gc.freeze()
    for _ in range(rounds):
        world.systemd.calls.clear()
        began = time.process_time()
        for _ in range(PASSES):
            world.reconciler.one_pass()
        seconds.append((time.process_time() - began) / PASSES)
        calls.append(world.systemd.calls.total() / PASSES)
    gc.unfreeze()
    return [
        Figure(_CPU.format(number), OURS, "s", tuple(seconds), "fake systemd, real files in memory"),
        Figure(_CALLS.format(number), OURS, "calls", tuple(calls)),
    ]


def _of_commands(world: World, rounds: int) -> list[Figure]:
    with tempfile.TemporaryDirectory() as directory:
        host = Path(directory)
        run = host / "run"
        (run / "requests").mkdir(parents=True)
        (run / "status.json").write_bytes((world.directory / "status.json").read_bytes())
        (host / "world.pickle").write_bytes(pickle.dumps(_what_plan_needs(world)))
        (host / "config.toml").write_text(CONFIG)
        # All that the command asks systemd for is whether the reconciler runs.
        (host / "systemctl").symlink_to("/bin/true")
        alone = [sys.executable, "-m", "tests.bench.planning", str(host / "world.pickle")]
        status = _timed(_seeing(host, "status"), rounds)
        with _answering(world, run):
            planned = _timed(_seeing(host, "plan"), rounds)
        without = "without systemd's part: the time of its answers comes on top"
        return [
            Figure(_COMMAND.format("status"), OURS, "s", status),
            Figure(_COMMAND.format("plan"), OURS, "s", planned, "asked of a reconciler that runs; fake systemd"),
            Figure(_ALONE, OURS, "s", _timed(alone, rounds), without),
        ]


@contextmanager
def _answering(world: World, run: Path) -> Iterator[None]:
    """Have the reconciler of a host answer the requests that are put into `run`, from a thread."""
    ended = threading.Event()
    reconciler = world.reconciler
    history = HistoryFile(run / "history.json", AuditFile(run / "audit"))
    reconciler.desk = OperatorDesk(RequestInbox(run / "requests"), history, run / "plan.json")

    def answer() -> None:
        while not ended.wait(PAUSE):
            if any(path.suffix == ".json" for path in (run / "requests").iterdir()):
                reconciler.one_pass()

    thread = threading.Thread(target=answer)
    # As the daemon does before its first pass.
    gc.collect()
    gc.freeze()
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        gc.unfreeze()


def _what_plan_needs(world: World) -> tuple[str, dict[str, Unit]]:
    """The host's directory, and its units as if they had begun just now: the command goes by the machine's clock."""
    now = time.monotonic()
    return str(world.directory), {name: replace(unit, since=now) for name, unit in world.systemd._units.items()}


def _seeing(host: Path, command: str) -> list[str]:
    """Run a command of ours that finds our files where the host's would be, in a mount namespace of its own."""
    script = 'mount -t tmpfs bench /run && mkdir "$0" && mount --bind "$1/run" "$0" && PATH="$1:$PATH" && shift'
    ours = [sys.executable, "-m", "reconciler", command]
    return ["unshare", "--mount", "sh", "-euc", f'{script} && exec "$@"', RUN, str(host), *ours]


def _timed(command: Sequence[str], rounds: int) -> tuple[float, ...]:
    """Run a command once to warm up, then `rounds` times; the seconds of each."""
    seconds = []
    for _ in range(rounds + 1):
        began = time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=CHECKOUT, env={**os.environ}, timeout=300)
        seconds.append(time.monotonic() - began)
    return tuple(seconds[1:])
