"""A booted host with the whole product and up to a thousand real models: their first rollouts, and the idle host."""

import os
import time
from collections.abc import Sequence

from tests.bench.figures import OURS, Figure, Goal
from tests.compatibility.places import trial_site
from tests.host import installed_image
from tests.host.host import INOTIFY
from tests.system.site import PYTHON, SCIENTIST, Site, code

FEW, MANY = COUNTS = (100, 1000)
IDLE_MINUTES = 10
EACH = "seconds of each first rollout, until there are {} deployments"
FAILED = "deployments with a failure in their first rollout, until there are {} deployments"
MEMORY = "memory of the idle agent and the idle reconciler together, 100 deployments"
TIME = "processor time of the idle agent and the idle reconciler together, 100 deployments"
GOALS = (
    *(Goal(EACH.format(count), 1.0, is_lowest=False) for count in COUNTS),
    *(Goal(FAILED.format(count), 0, is_lowest=False) for count in COUNTS),
    Goal(MEMORY, 80.0, is_lowest=False),
    Goal(TIME, 0.3, is_lowest=False),
)
SERVICES = ("mlflow-registry-agent", "mlflow-reconciler")
PATIENCE = 3 * 3600.0
# The intervals are the product's defaults, which test hosts shorten. Models end when nobody asks them anything: a
# thousand that stay would need more memory than the machine has.
SETTINGS = """
[registry]
poll_interval = 10
[deploy]
environment = "host"
idle_timeout = 5
port_range = [31000, 32700]
[policy]
max_deployments = 10000
"""
# All names have one logged model: what a host does for each name is the same, and logging a thousand takes long.
REGISTER = """
import sys
from mlflow import MlflowClient
client = MlflowClient()
source = client.get_model_version(sys.argv[1], "1")
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    name = f"m{number}"
    client.create_registered_model(name)
    client.create_model_version(name, source.source, model_id=source.source.removeprefix("models:/"))
"""


def figures(rounds: int) -> list[Figure]:
    """Roll out a hundred models and watch the idle host; in a run of several rounds also roll out the rest, once.

    The rest takes an hour and more.
    """
    INOTIFY.write_text("16384\n")  # two for each model that is watched
    with installed_image() as image, trial_site(image) as site:
        site.change_settings("bench.toml", SETTINGS)
        site.register({"name": "first", "code": code()})
        found = [*_rolled_out(site, 0, FEW), *_idle(site)]
        return [*found, *_rolled_out(site, FEW, MANY)] if rounds > 1 else found


def _rolled_out(site: Site, begin: int, end: int) -> list[Figure]:
    """Promote the models from `begin` up to `end` and wait until each was proved and has ended again."""
    count = end - begin
    login = {"MLFLOW_TRACKING_URI": site.registry.uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
    asked = [PYTHON, "-W", "ignore", "-c", REGISTER, "first", str(begin), str(end)]
    site.host.run(asked, user=SCIENTIST, environment=login, timeout=1800)
    names = [f"m{number}" for number in range(begin, end)]
    began = time.monotonic()
    for name in names:
        site.registry.promote(name, 1)
    failed: set[str] = set()

    def all_proved() -> bool | None:
        found = site.statuses()
        failed.update(name for name in names if found.get(name, {}).get("state") in ("failed", "degraded", "stalled"))
        return all(found.get(name, {}).get("state") in ("idle", "serving") for name in names) or None

    site.host.wait_for(all_proved, PATIENCE, f"{count} deployments to serve", interval=1)
    took = time.monotonic() - began
    return [
        Figure(EACH.format(end), OURS, "s", (took / count,), "mean; all are promoted in one go"),
        Figure(FAILED.format(end), OURS, "", (float(len(failed)),)),
    ]


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
