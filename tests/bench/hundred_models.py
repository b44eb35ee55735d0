"""A booted host with the whole product and a hundred real models: their first rollouts, and the idle host."""

import os
import time
from collections.abc import Sequence

from tests.bench.figures import OURS, Figure, Goal
from tests.bench.many_models import EACH, FAILED, booted, rolled_out
from tests.system.site import Site

COUNT = 100
IDLE_MINUTES = 10
MEMORY = f"memory of the idle agent and the idle reconciler together, {COUNT} deployments"
TIME = f"processor time of the idle agent and the idle reconciler together, {COUNT} deployments"
GOALS = (
    Goal(EACH.format(COUNT), 1.0, is_lowest=False),
    Goal(FAILED.format(COUNT), 0, is_lowest=False),
    Goal(MEMORY, 80.0, is_lowest=False),
    Goal(TIME, 0.3, is_lowest=False),
)
SERVICES = ("mlflow-registry-agent", "mlflow-reconciler")


def figures(_rounds: int) -> list[Figure]:
    """Roll them out and watch the idle host, once: a quarter of an hour."""
    with booted() as site:
        return [*rolled_out(site, COUNT), *_idle(site)]


def _idle(site: Site) -> list[Figure]:
    """PSS and processor time of both services, while nobody asks anything."""
    site.settle(600)
    numbers = [int(site.host.output(["systemctl", "show", "--value", "-p", "MainPID", name])) for name in SERVICES]
    began, used = time.monotonic(), _processor_seconds(site, numbers)
    time.sleep(IDLE_MINUTES * 60)  # what is measured is this time
    took, used = time.monotonic() - began, _processor_seconds(site, numbers) - used
    memory = sum(_pss(site, number) for number in numbers)
    remark = f"over {IDLE_MINUTES} minutes, at the default intervals"
    return [
        Figure(MEMORY, OURS, "MB", (memory,), "PSS"),
        Figure(TIME, OURS, "% of a core", (100 * used / took,), remark),
    ]


def _processor_seconds(site: Site, numbers: Sequence[int]) -> float:
    ticks = 0
    for number in numbers:
        fields = site.host.output(["cat", f"/proc/{number}/stat"]).rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])  # utime and stime
    return ticks / os.sysconf("SC_CLK_TCK")


def _pss(site: Site, number: int) -> float:
    lines = site.host.output(["cat", f"/proc/{number}/smaps_rollup"]).splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1000
