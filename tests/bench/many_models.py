"""A booted host with the whole product and a thousand real models: their first rollouts."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.bench.figures import OURS, Figure, Goal
from tests.compatibility.places import trial_site
from tests.host import installed_image
from tests.host.host import INOTIFY
from tests.system.site import PYTHON, SCIENTIST, Site, code

MANY = 1000
EACH = "seconds of each first rollout, until there are {} deployments"
FAILED = "deployments with a failure in their first rollout, until there are {} deployments"
GOALS = (Goal(EACH.format(MANY), 1.0, is_lowest=False), Goal(FAILED.format(MANY), 0, is_lowest=False))
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
for number in range(int(sys.argv[2])):
    name = f"m{number}"
    client.create_registered_model(name)
    client.create_model_version(name, source.source, model_id=source.source.removeprefix("models:/"))
"""


def figures(rounds: int) -> list[Figure]:
    """Roll out a thousand models, once; it takes more than an hour, so a run of one round leaves it out."""
    if rounds == 1:
        return []
    with booted() as site:
        return rolled_out(site, MANY)


@contextmanager
def booted() -> Iterator[Site]:
    """A host with the product's defaults, whose registry has the model that all names have."""
    INOTIFY.write_text("16384\n")  # two for each model that is watched
    with installed_image() as image, trial_site(image) as site:
        site.change_settings("bench.toml", SETTINGS)
        site.register({"name": "first", "code": code()})
        yield site


def rolled_out(site: Site, count: int) -> list[Figure]:
    """Promote so many models and wait until each was proved and has ended again."""
    login = {"MLFLOW_TRACKING_URI": site.registry.uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
    asked = [PYTHON, "-W", "ignore", "-c", REGISTER, "first", str(count)]
    site.host.run(asked, user=SCIENTIST, environment=login, timeout=1800)
    names = [f"m{number}" for number in range(count)]
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
        Figure(EACH.format(count), OURS, "s", (took / count,), "mean; all are promoted in one go"),
        Figure(FAILED.format(count), OURS, "", (float(len(failed)),)),
    ]
