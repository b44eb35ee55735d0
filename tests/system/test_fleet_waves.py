"""Three hosts that follow one registry: a version goes from ring to ring, and stops where a host rejects it."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from tests.host import Layers, Registry, installed_host
from tests.system.conftest import SETTINGS
from tests.system.site import Site, code
from tests.system.steady import Steady

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

RINGS = "[registry]\nrings = ['canary', 'all']\n"
PATIENCE = "10m"
NAME = "m"


class Fleet(NamedTuple):
    """Three hosts, the first of which is the canary, and their registry."""

    canary: Site
    ward: Site
    last: Site
    registry: Registry

    @property
    def sites(self) -> tuple[Site, Site, Site]:
        """In the order in which a version reaches them."""
        return self.canary, self.ward, self.last

    def register(self, **about: str) -> int:
        """Register a new version of the one model."""
        return self.canary.register({"name": NAME, "code": code(**about)})[NAME]


@pytest.fixture(scope="module")
def fleet(image: Layers) -> Iterator[Fleet]:
    """Boot them; all but the canary wait for those before them."""
    with ExitStack() as stack:
        first = stack.enter_context(installed_host(image, "canary", settings=f"{SETTINGS}{RINGS}ring = 'canary'\n"))
        registry = Registry(first, first.registry_port)
        registry.start()
        hosts = [first]
        for name in ("ward", "last"):
            after = [host.name for host in hosts]
            ring = f"{RINGS}ring = 'all'\nuri = '{registry.uri}'\n[rollout]\nafter = {after}\n"
            hosts.append(stack.enter_context(installed_host(image, name, settings=SETTINGS + ring)))
        canary, ward, last = (Site(host, registry) for host in hosts)
        yield Fleet(canary, ward, last, registry)


def wait(site: Site, version: int, timeout: str = PATIENCE) -> tuple[int, str]:
    """Run the command on a host; gives its exit status and its sentence."""
    asked = ["reconciler", "wait", NAME, "--version", str(version), "--timeout", timeout]
    done = site.host.run(asked, check=False, timeout=660)
    return done.returncode, done.stdout.strip()


def told(site: Site, version: int) -> list[list[str]]:
    """Return what `status --fleet` shows of a version: name, state, version and host of each line."""
    table = site.host.output(["reconciler", "status", "--fleet", NAME])
    rows = [line.split()[:4] for line in table.splitlines() if line.startswith(NAME)]
    return sorted(row for row in rows if row[2] == str(version))


def active_since(site: Site) -> str:
    """Since when the active version serves; ISO, so that texts compare as times do."""
    return str(site.statuses()[NAME]["active_since"])


@pytest.fixture(scope="module")
def served(fleet: Fleet) -> Fleet:
    """Version 1 has gone through all hosts, of which none asked the others."""
    version = fleet.register()
    fleet.registry.set_alias(NAME, "all", version)
    for site in fleet.sites:
        assert wait(site, version) == (0, f"version {version} of {NAME} serves; {UNTRIED}")
    return fleet


UNTRIED = "nothing was tried with it, as it has no logged example"


def test_a_good_version_goes_from_host_to_host(served: Fleet) -> None:
    """One after the other, each after those before it passed their soak; the canary takes what all may take."""
    before = [active_since(site) for site in served.sites]
    assert before == sorted(before)
    clients = [Steady(site.statuses()[NAME]["url"], ([0.5], "negative")) for site in served.sites]
    try:
        version = served.register()
        served.registry.set_alias(NAME, "all", version)
        code, said = wait(served.canary, version)
        assert code == 0, said
        code, said = wait(served.last, version)
        assert code == 0, said
        after = [active_since(site) for site in served.sites]
        assert after == sorted(after)
        expected = sorted([NAME, "serving", str(version), site.host.name] for site in served.sites)
        served.last.host.wait_for(lambda: told(served.last, version) == expected or None, 60, "the word of all hosts")
        for client, site in zip(clients, served.sites, strict=True):
            with client.unharmed(site.host):
                pass
    finally:
        for client in clients:
            client.stop()


def test_a_broken_version_stops_at_the_first_host(served: Fleet) -> None:
    """The others keep what serves, and say what they wait for."""
    serving = {site.host.name: site.statuses()[NAME]["active_version"] for site in served.sites}
    version = served.register(on_load="raise RuntimeError('a broken model')")
    served.registry.set_alias(NAME, "all", version)
    code, said = wait(served.canary, version)
    assert code == 1
    assert said.startswith(f"version {version} of {NAME} is rejected on this host: ")
    assert "a broken model" in said
    one = served.ward.host.wait_for(
        lambda: (one := served.ward.statuses()[NAME])["message"].count("says 'degraded") and one, 60, "the tag"
    )
    assert (one["state"], one["reason"]) == ("pending", "other-hosts-first")
    code, said = wait(served.last, version, "1s")
    assert code == 2
    assert said.startswith(f"version {version} of {NAME} is pending: version {version} begins here when it serves on")
    assert {site.host.name: site.statuses()[NAME]["active_version"] for site in served.sites} == serving


def test_a_wave_goes_on_after_the_registry_was_away(served: Fleet) -> None:
    """It stops in the middle of the wave, once the first host has proved the version."""
    version = served.register()
    served.registry.set_alias(NAME, "all", version)
    code, said = wait(served.canary, version)
    assert code == 0, said
    served.registry.stop()
    try:
        states = {site.host.name: site.statuses()[NAME]["state"] for site in served.sites}
        assert states[served.canary.host.name] == "serving"
        assert set(states.values()) <= {"serving", "pending", "preparing", "rolling-out"}
    finally:
        served.registry.start()
    for site in served.sites:
        code, said = wait(site, version)
        assert code == 0, said
