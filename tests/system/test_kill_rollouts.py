"""SIGKILL to the reconciler after every action of a rollout, a rollback, a prune and a scale-up, under load.

Each ends as it does when nobody is killed, and no request is lost. As in test_kill.py, a play has several kills.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.host import Layers, Registry, installed_host
from tests.load import Load
from tests.system.killer import AGENT, Killer, state_of
from tests.system.site import Site, code

pytestmark = [pytest.mark.system, pytest.mark.by_hand, pytest.mark.timeout(1800)]

SETTINGS = """
[deploy]
soak = 2
max_error_rate = 0
[policy]
tags = ["environment", "soak", "replicas"]
[reconcile]
retry_min = 1
retry_max = 5
"""
NAME = "moving"
OTHERS = ("left", "middle", "right")
# Nobody but the test sends it what it cannot answer: the rollback costs the load nothing.
TOUCHY = "if 'poison' in str(model_input): raise ValueError('poisoned')\n        return [3.0], 'negative'"
HOST = {"environment": "host"}


def answer(version: int) -> dict[str, Any]:
    """What a version answers."""
    return {"output": [float(version)], "diagnosis": "negative"}


@pytest.fixture(scope="module")
def site(image: Layers) -> Iterator[Site]:
    """A site with three versions of a model, of which the first serves, and with three other deployments."""
    with installed_host(image, "kill-rollouts", settings=SETTINGS) as host:
        registry = Registry(host, host.registry_port)
        registry.start()
        site = Site(host, registry)
        for version in (1, 2):
            site.register({"name": NAME, "code": code(([float(version)], "negative"))})
        site.register({"name": NAME, "code": code(on_predict=TOUCHY), "settings": {**HOST, "soak": "600"}})
        site.serve(*({"name": name, "code": code()} for name in OTHERS))
        registry.promote(NAME, 1)
        site.wait_for(NAME, "serving", 1)
        yield site


@pytest.fixture(scope="module")
def killer(site: Site) -> Killer:
    """Kills its reconciler."""
    return Killer(site)


def servers(site: Site, name: str) -> int:
    """How many servers of a deployment run."""
    units = f"systemctl list-units --plain --no-legend --state=active 'model-{name}@*'"
    return len(site.host.output(units).splitlines())


def roll_out(site: Site) -> None:
    """Replace version 1 by version 2."""
    site.registry.promote(NAME, 2, archive=True)
    site.wait_for(NAME, "serving", 2)


def roll_back(site: Site) -> None:
    """Replace version 1 by version 3, which fails in its soak and is undone."""
    site.registry.promote(NAME, 3, archive=True)

    def soaks() -> bool:
        one = site.statuses()[NAME]
        return bool(one["active_version"] == "3" and one["reason"] == "soaking")

    site.host.wait_for(lambda: soaks() or None, 90, "version 3 to be watched")
    assert site.predict(NAME, {"poison": 1}, {}).status_code == 500
    site.wait_for(NAME, "degraded", 3)


def scale_up(site: Site) -> None:
    """Have three servers instead of one."""
    site.registry.set_tag(NAME, "deploy.replicas", "3", 1)
    site.host.wait_for(lambda: servers(site, NAME) == 3 or None, 90, "three servers")
    site.wait_for(NAME, "serving", 1)


@contextmanager
def agent_stopped(site: Site) -> Iterator[None]:
    """Change several things in the registry at once."""
    site.host.run(["systemctl", "stop", AGENT])
    yield
    site.host.run(["systemctl", "start", AGENT])


def prune(site: Site) -> None:
    """Take three of four deployments out of Production at once, and confirm it when it is held."""
    with agent_stopped(site):
        for name in OTHERS:
            site.registry.promote(name, 1, "Archived")
    for name in OTHERS:
        site.wait_for(name, "held")
    site.host.run(["reconciler", "apply", "--confirm-prune"], timeout=90)
    site.wait_until_gone(*OTHERS)


def undo(site: Site) -> None:
    """Bring everything back to where each play starts."""
    site.registry.set_tag(NAME, "deploy.replicas", "1", 1)
    site.registry.promote(NAME, 1, archive=True)
    for name in OTHERS:
        site.registry.promote(name, 1)
    for name in (NAME, *OTHERS):
        site.wait_for(name, "serving", 1)
    site.host.wait_for(lambda: servers(site, NAME) == 1 or None, 90, "one server")
    site.host.run(["reconciler", "retry", NAME], timeout=90)
    site.settle()


PLAYS = {"rollout": roll_out, "rollback": roll_back, "scale-up": scale_up, "prune": prune}
APART = 6
"""Actions between the kills of one play."""
SPARE = 3
"""How many actions fewer a play may have, see test_kill.py."""


def play(site: Site, killer: Killer, which: str, at: Iterable[int] = ()) -> tuple[list[str], str]:
    """Play one, killing the reconciler after the actions `at`; gives what was done and the end."""
    killer.arm(at)
    PLAYS[which](site)
    site.settle()
    done, state = killer.actions, state_of(site)
    killed = killer.killed
    killer.arm()
    undo(site)
    assert set(at) & set(range(1, len(done) - SPARE)) <= set(killed)
    return done, state


@pytest.mark.parametrize("which", PLAYS)
def test_kills_after_any_action_lose_nothing(site: Site, killer: Killer, which: str) -> None:
    """The end of plays with kills is that of one without, and clients that ask all the time do not notice."""
    port = int(site.statuses()[NAME]["url"].rpartition(":")[2])
    with Load({str(version): answer(version) for version in (1, 2, 3)}, tcp=("127.0.0.1", port), rate=200) as load:
        play(site, killer, which)  # what stays of the first one is there before all others
        done, state = play(site, killer, which)
        for offset in range(1, APART + 1):
            _, ended = play(site, killer, which, range(offset, len(done) + 1, APART))
            assert ended == state, f"killed after {offset}, and every {APART} actions from there on, of {done}"
    print(f"{which}: {len(done)} actions, {load.totals.requests} requests, 0 lost")  # noqa: T201 - the figure is reported
    assert load.totals.harm() == []
