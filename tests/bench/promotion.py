"""From Production in the registry to the first answer of the new version, on a booted host with the whole product."""

import time

import httpx

from tests.bench.figures import OURS, Figure, Goal
from tests.compatibility.places import trial_site
from tests.host import installed_image
from tests.system.site import Site

POLL = 10
"""Seconds: the default of registry.poll_interval, which the test hosts shorten."""
THERE = "promotion to first answer, its environment is there"
MISSING = "promotion to first answer, its environment has to be built"
NEEDED = "poll interval + loading the model"
NEEDED_TO_BUILD = "poll interval + resolving and linking the packages + loading the model"
GOALS = (
    Goal(THERE, 1.3, is_lowest=False, peer=NEEDED),
    Goal(MISSING, 1.3, is_lowest=False, peer=NEEDED_TO_BUILD),
)
_NAME = "bench"
_BODY = {"dataframe_split": {"columns": ["a", "b"], "data": [[1.0, 2.0]]}}
_LOAD = """
import sys, time
began = time.monotonic()
import mlflow
mlflow.pyfunc.load_model(sys.argv[1])
print(time.monotonic() - began)
"""


def figures(rounds: int) -> list[Figure]:
    """Promote a first version, and one more in each round. It needs root, as everything that boots hosts."""
    with installed_image() as image, trial_site(image) as site:
        site.change_settings("bench.toml", f"[registry]\npoll_interval = {POLL}\n")
        first = _promoted(site, 1)
        later = [_promoted(site, version) for version in range(2, rounds + 2)]
        began = time.monotonic()
        # As the build step has it: the packages are in a cache that another build of this user has filled.
        python = site.scientists_python("again", "mlflow", "scikit-learn", "pandas")
        linking = time.monotonic() - began
        release = f"/var/lib/mlflow-deploy/model_deploys/{_NAME}/releases/{rounds + 1}/model"
        loading = [float(site.host.output([python, "-W", "ignore", "-c", _LOAD, release])) for _ in range(rounds)]
    needed = tuple(POLL + seconds for seconds in loading)
    return [
        Figure(THERE, OURS, "s", tuple(later)),
        Figure(THERE, NEEDED, "s", needed),
        Figure(MISSING, OURS, "s", (first,)),
        Figure(MISSING, NEEDED_TO_BUILD, "s", tuple(linking + seconds for seconds in needed)),
    ]


def _promoted(site: Site, version: int) -> float:
    """Register a version, promote it, and ask until it answers; the seconds since it was promoted."""
    model = {"name": _NAME, "kind": "sklearn", "settings": {"environment": "model"}}
    registered = site.register(model)[_NAME]
    began = time.monotonic()
    site.registry.promote(_NAME, registered)

    def answered() -> bool | None:
        url = site.statuses().get(_NAME, {}).get("url")
        if not url:
            return None
        try:
            answer = httpx.post(f"{url}/invocations", json=_BODY, timeout=60, trust_env=False)
        except httpx.TransportError:
            return None
        wanted = f"{_NAME}@{registered}."
        return (answer.status_code == 200 and answer.headers["Model-Release"].startswith(wanted)) or None

    site.host.wait_for(answered, 900, f"version {version} to answer")
    return time.monotonic() - began
