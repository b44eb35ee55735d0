"""Three hosts, each behind a link of its own, and real load balancers in front: what a failure costs clients."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.balancers import PORTS, RECIPES, balancer, missing
from tests.host import Layers, Registry, installed_host
from tests.host.links import NETWORK, Links, links
from tests.plays import PLAYBOOK, play
from tests.system.conftest import SETTINGS
from tests.system.site import Site, code
from tests.system.steady import Steady
from tests.system.test_fleet_waves import NAME, wait

LACKING = missing(*PORTS, "ip")
pytestmark = [
    pytest.mark.system,
    pytest.mark.exhaustive,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(bool(LACKING), reason=f"needs Debian's packages with {', '.join(LACKING)}"),
]

NAMES = ("first", "second", "third")


class Fleet(NamedTuple):
    """The hosts, what is between them, and the clients that ask all the time, by the balancer that they ask."""

    sites: dict[str, Site]
    links: Links
    registry: Registry
    clients: dict[str, Steady]

    def register(self, *, select: bool = True, **about: str) -> int:
        """Register a new version of the one model; it is for all hosts unless it is not to be selected."""
        version = self.sites["first"].register({"name": NAME, "code": code(**about)})[NAME]
        if select:
            self.registry.promote(NAME, version, archive=True)
        return version

    @contextmanager
    def losing(self, most: int) -> Iterator[None]:
        """Hold that meanwhile each client loses at most so many requests, and that all are answered afterwards."""
        before = {name: len(client.failures) for name, client in self.clients.items()}
        yield
        for name, client in self.clients.items():
            answers = client.answers
            host = self.sites["first"].host
            host.wait_for(lambda: client.answers > answers + 2 or None, 120, f"answers by {name}")  # noqa: B023 - now
            lost = client.failures[before[name] :]
            assert len(lost) <= most, f"{name}: {lost}"


@pytest.fixture(scope="module")
def fleet(image: Layers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Boot them; each but the first waits for those before it."""
    with ExitStack() as stack:
        made = stack.enter_context(links(*NAMES))
        sites: dict[str, Site] = {}
        registry: Registry | None = None
        for name in NAMES:
            after = [site.host.name for site in sites.values()]
            settings = f"{SETTINGS}[rollout]\nafter = {after}\n"
            settings += f"[deploy]\naddress = '{made.address(name)}'\npeers = ['{NETWORK}']\n"
            if registry:
                settings += f"[registry]\nuri = '{registry.uri}'\n"
            host = stack.enter_context(
                installed_host(image, name, settings=settings, nspawn_options=[made.option(name)])
            )
            if registry is None:
                registry = Registry(host, host.registry_port, address=made.address(name))
                registry.start()
                host.write("/etc/mlflow-reconciler/config.d/70-registry.toml", f"[registry]\nuri = '{registry.uri}'\n")
            sites[name] = Site(host, registry)
        assert registry is not None
        found = Fleet(sites, made, registry, {})
        version = found.register()
        for site in sites.values():
            status, said = wait(site, version)
            assert status == 0, said
        servers = [site.statuses()[NAME]["url"].removeprefix("http://") for site in sites.values()]
        place = tmp_path_factory.mktemp("balancers")
        for name in PORTS:
            address = stack.enter_context(balancer(name, servers, place / name))
            found.clients[name] = Steady(address, ([0.5], "negative"))
            stack.callback(found.clients[name].stop)
        yield found


def test_a_wave_during_another_one_loses_nothing(fleet: Fleet) -> None:
    """The second begins while the first is under way."""
    with fleet.losing(0):
        first = fleet.register()
        status, said = wait(fleet.sites["first"], first)
        assert status == 0, said
        second = fleet.register()
        for site in fleet.sites.values():
            status, said = wait(site, second)
            assert status == 0, said


def test_a_broken_version_loses_nothing(fleet: Fleet) -> None:
    """It stops at the first host, and all of them answer as before."""
    with fleet.losing(0):
        version = fleet.register(on_load="raise RuntimeError('a broken model')")
        status, said = wait(fleet.sites["first"], version)
        assert status == 1
        assert "a broken model" in said
        status, said = wait(fleet.sites["third"], version, "1s")
        assert status == 2, said


def test_a_host_that_is_cut_off_costs_what_was_in_flight_to_it(fleet: Fleet) -> None:
    """Each client has one request at a time. The wave waits for that host, which takes the version when it is back."""
    with fleet.losing(1):
        fleet.links.cut("second")
        version = fleet.register()
        status, said = wait(fleet.sites["first"], version)
        assert status == 0, said
        status, said = wait(fleet.sites["third"], version, "5s")
        assert status == 2
        assert fleet.sites["second"].host.name in said
    # It comes back with the version before, which it serves on until it has read the registry.
    with fleet.losing(0):
        fleet.links.mend("second")
        for site in fleet.sites.values():
            status, said = wait(site, version)
            assert status == 0, said


def test_without_the_registry_all_serve_on(fleet: Fleet) -> None:
    """In the middle of a wave; it goes on when the registry is back."""
    with fleet.losing(0):
        version = fleet.register()
        status, said = wait(fleet.sites["first"], version)
        assert status == 0, said
        fleet.registry.stop()
        try:
            # It waits for the word of the second, which no host can hear now.
            status, said = wait(fleet.sites["third"], version, "3s")
            assert status == 2, said
        finally:
            fleet.registry.start()
        for site in fleet.sites.values():
            status, said = wait(site, version)
            assert status == 0, said


@pytest.mark.skipif(not PLAYBOOK.exists(), reason="needs Debian's package ansible-core")
def test_a_play_takes_a_version_from_host_to_host(fleet: Fleet, tmp_path: Path) -> None:
    """And stops at the first host where the version is rejected, whose sentence is what Ansible says."""
    follow_their_own_aliases(fleet)
    with fleet.losing(0):
        good = fleet.register(select=False)
        done = promote(fleet, tmp_path, good)
        assert done.returncode == 0, done.stdout
        assert {site.statuses()[NAME]["active_version"] for site in fleet.sites.values()} == {str(good)}
        since = [site.statuses()[NAME]["active_since"] for site in fleet.sites.values()]
        assert since[0] == min(since)
        bad = fleet.register(select=False, on_load="raise RuntimeError('a broken model')")
        done = promote(fleet, tmp_path, bad)
        assert done.returncode != 0
        assert f"version {bad} of {NAME} is rejected on this host: " in done.stdout
        assert {site.statuses()[NAME]["active_version"] for site in fleet.sites.values()} == {str(good)}
        wanted = {name: site.statuses()[NAME]["desired_version"] for name, site in fleet.sites.items()}
        assert wanted == {"first": str(bad), "second": str(good), "third": str(good)}


def follow_their_own_aliases(fleet: Fleet) -> None:
    """As the play expects it. What serves is what the aliases name, so nothing has to be confirmed."""
    version = fleet.register()
    for site in fleet.sites.values():
        status, said = wait(site, version)
        assert status == 0, said
    for name, site in fleet.sites.items():
        fleet.registry.set_alias(NAME, name, version)
        site.change_settings("80-alias.toml", f"[registry]\nselectors = ['alias:{name}']\n[rollout]\nafter = []\n")


def promote(fleet: Fleet, place: Path, version: int) -> "subprocess.CompletedProcess[str]":
    """Run the documented play on all hosts."""
    hosts = {name: site.host for name, site in fleet.sites.items()}
    about = {"mlflow": fleet.registry.uri, "model": NAME, "version": str(version), "patience": "5m"}
    return play(RECIPES / "release.yml", hosts, place, **about)


def test_a_host_that_dies_costs_what_was_in_flight_to_it(fleet: Fleet) -> None:
    """The last test: it is not there afterwards."""
    init = fleet.sites["third"].host.init
    assert init is not None
    with fleet.losing(1):
        os.kill(init, signal.SIGKILL)
