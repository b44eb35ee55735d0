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
# Small packages without requirements of their own: each makes another environment.
_MORE = ("tabulate==0.9.0", "toolz==1.0.0", "iniconfig==2.1.0", "natsort==8.4.0", "more-itertools==10.7.0")
_LOAD = """
import sys, time
began = time.monotonic()
import mlflow
mlflow.pyfunc.load_model(sys.argv[1])
print(time.monotonic() - began)
"""


def figures(rounds: int) -> list[Figure]:
    """Promote versions of one environment, then as many of which each needs another one. It needs root, for hosts."""
    rounds = min(rounds, len(_MORE))
    with installed_image() as image, trial_site(image) as site:
        site.change_settings("bench.toml", f"[registry]\npoll_interval = {POLL}\n")
        _promoted(site)  # the first one downloads the packages of all
        there = [_promoted(site) for _ in range(rounds)]
        missing = [_promoted(site, package) for package in _MORE[:rounds]]
        python = _linked(site, "first")[1]  # it downloads, too: the rest finds the packages in the user's cache
        linking = [_linked(site, f"round-{number}", package)[0] for number, package in enumerate(_MORE[:rounds])]
        release = f"/var/lib/mlflow-deploy/model_deploys/{_NAME}/releases/{1 + 2 * rounds}/model"
        loading = [float(site.host.output([python, "-W", "ignore", "-c", _LOAD, release])) for _ in range(rounds)]
    needed = tuple(POLL + seconds for seconds in loading)
    return [
        Figure(THERE, OURS, "s", tuple(there), "with the whole interval, however soon it was noticed"),
        Figure(THERE, NEEDED, "s", needed),
        Figure(MISSING, OURS, "s", tuple(missing), "the same; builds share no cache"),
        Figure(MISSING, NEEDED_TO_BUILD, "s", tuple(map(sum, zip(linking, needed, strict=True))), "from a warm cache"),
    ]


def _linked(site: Site, name: str, *more: str) -> tuple[float, str]:
    """Seconds that uv takes for an environment as the model's, and its interpreter."""
    began = time.monotonic()
    python = site.scientists_python(name, "mlflow", "scikit-learn", "pandas", *more)
    return time.monotonic() - began, python


def _promoted(site: Site, *requirements: str) -> float:
    """Register a version, promote it, ask until it answers; the seconds since it was noticed, and the interval."""
    model = {"name": _NAME, "kind": "sklearn", "requirements": requirements, "settings": {"environment": "model"}}
    version = site.register(model)[_NAME]
    site.registry.promote(_NAME, version)

    def answered() -> bool | None:
        url = site.statuses().get(_NAME, {}).get("url")
        if not url:
            return None
        try:
            answer = httpx.post(f"{url}/invocations", json=_BODY, timeout=60, trust_env=False)
        except httpx.TransportError:
            return None
        wanted = f"{_NAME}@{version}."
        return (answer.status_code == 200 and answer.headers["Model-Release"].startswith(wanted)) or None

    site.host.wait_for(answered, 900, f"version {version} to answer")
    return POLL + time.time() - _noticed(site, version)


def _noticed(site: Site, version: int) -> float:
    """When the agent saw the promotion, in seconds of Unix time: how long it took depends on when it asked last."""
    words = f"version {version} of {_NAME} is now selected"
    told = ["journalctl", "--no-pager", "--output=short-unix", "--unit=mlflow-registry-agent", "--grep", words]
    return float(site.host.output(told).split()[0])
