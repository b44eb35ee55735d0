"""A random walk over a real host: promotions, failures, kills, drift, suspensions; all ends as it should."""

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from tests.host import Layers, Registry, installed_host
from tests.system.killer import RECONCILER
from tests.system.site import Site, code

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

SETTINGS = """
[deploy]
soak = 2
[reconcile]
mend_budget = 1000
retry_min = 1
retry_max = 5
log_actions = true
[policy]
tags = ["environment", "soak"]
"""
UNITS = "/etc/systemd/system"
NAMES = ("north", "south")
GOOD, BAD, UNSTABLE = (1, 2), 3, 4
"""Versions: two that are fine, one that cannot be loaded, one that ends while it is watched."""
ENDS = "import threading, os; threading.Timer(3, os._exit, [7]).start()"


@pytest.fixture(scope="module")
def site(image: Layers) -> Iterator[Site]:
    """A site with four versions of two models."""
    with installed_host(image, "walk", settings=SETTINGS) as host:
        registry = Registry(host, host.registry_port)
        registry.start()
        site = Site(host, registry)
        for version in (*GOOD, BAD, UNSTABLE):
            settings = {"environment": "host", **({"soak": "600"} if version == UNSTABLE else {})}
            text = code(
                ([float(version)], "negative"),
                on_load={BAD: "raise KeyError('weights')", UNSTABLE: ENDS}.get(version, "pass"),
            )
            site.register(*({"name": name, "code": text, "settings": dict(settings)} for name in NAMES))
        yield site


@dataclass
class Deployment:
    """What the registry and people said of a deployment, and what has to come of it."""

    name: str
    wanted: int | None = None
    serving: int | None = None
    rejected: set[int] = field(default_factory=set)
    suspended: bool = False
    starts: dict[int, int] = field(default_factory=dict)
    """How often the versions that fail may have been tried."""

    def settle(self) -> None:
        """Follow the registry, as far as nobody says otherwise."""
        if self.suspended:
            return
        if self.wanted in (BAD, UNSTABLE) and self.wanted not in self.rejected:
            self.starts[self.wanted] = self.starts.get(self.wanted, 0) + 1
            self.rejected.add(self.wanted)
        if self.wanted is None or self.wanted not in self.rejected:
            self.serving = self.wanted


class Walk:
    """The steps, each drawn by chance; after each the host is as the model of it says."""

    def __init__(self, site: Site, seed: int) -> None:
        """Begin with nothing in Production."""
        self.site = site
        self.chance = random.Random(seed)  # noqa: S311 - not for secrets
        self.all = {name: Deployment(name) for name in NAMES}
        self.said: list[str] = []
        self.listening: dict[str, str] = {}
        self.tried = {(name, version): self.tries(name, version) for name in NAMES for version in (BAD, UNSTABLE)}
        self.before = site.listing()

    def tries(self, name: str, version: int) -> int:
        """How often a version was started so far."""
        journal = self.site.host.journal(f"MODEL={name}", "-t", "reconciler", "-o", "cat")
        return journal.count(f"start model-{name}@{version}.")

    def step(self) -> None:
        """Do something, wait until nothing moves, look at everything."""
        one = self.all[self.chance.choice(NAMES)]
        steps: list[Callable[[Deployment], None]] = [self.promote, self.promote, self.promote, self.hesitate]
        if one.wanted is not None:
            steps += [self.demote, self.suspend_or_resume, self.kill_reconciler, self.restart_dbus]
        if one.serving is not None and not one.suspended:
            steps += [self.retry, self.drop_in, self.edit, self.delete, self.kill_server, self.roll_back, self.roll_out]
        act = self.chance.choice(steps)
        self.said.append(f"{act.__name__} {one.name}")
        act(one)
        self.look()

    def promote(self, one: Deployment) -> None:
        """Set some version to Production."""
        # A first release has no soak: one that ends would be started again and again.
        one.wanted = self.chance.choice((*GOOD, *GOOD, BAD, UNSTABLE if one.serving else BAD))
        self.said[-1] += f" {one.wanted}"
        self.site.registry.promote(one.name, one.wanted, archive=True)
        one.settle()

    def hesitate(self, one: Deployment) -> None:
        """Promote, demote, and promote another one within a second."""
        one.wanted = self.chance.choice(GOOD)
        self.said[-1] += f" {one.wanted}"
        self.site.registry.promote(one.name, one.wanted, archive=True)
        self.site.registry.promote(one.name, one.wanted, "Archived")
        self.site.registry.promote(one.name, one.wanted)
        one.settle()

    def demote(self, one: Deployment) -> None:
        """Take it out of Production."""
        self.site.registry.promote(one.name, one.wanted or 0, "Archived")
        one.wanted = None
        one.settle()

    def retry(self, one: Deployment) -> None:
        """Forgive what failed."""
        self.site.host.run(["reconciler", "retry", one.name], timeout=60)
        one.rejected.clear()
        one.settle()

    def suspend_or_resume(self, one: Deployment) -> None:
        """Have it left alone, or looked after again."""
        one.suspended = not one.suspended
        self.site.host.run(["reconciler", "suspend" if one.suspended else "resume", one.name], timeout=60)
        one.settle()

    def roll_back(self, one: Deployment) -> None:
        """Go back, if there is something to go back to."""
        done = self.site.host.run(["reconciler", "rollback", one.name], check=False, timeout=60)
        if went := re.match(rf"{one.name} goes back to version (\d+)", done.stdout):
            if one.serving is not None:
                one.rejected.add(one.serving)
            one.rejected.add(one.wanted or 0)
            one.serving = int(went[1])
            one.rejected.discard(one.serving)
        elif f"version {one.wanted} of {one.name} is tried again" in done.stdout:
            one.rejected.discard(one.wanted or 0)
            one.settle()

    def roll_out(self, one: Deployment) -> None:
        """Repeat the rollout of what is wanted."""
        if one.wanted in GOOD and one.wanted not in one.rejected:
            self.site.host.run(["reconciler", "rollout", one.name], timeout=60)
            one.rejected.clear()  # all its versions make new releases from now on

    def kill_reconciler(self, _: Deployment) -> None:
        """It comes back by itself."""
        self.site.host.run(["systemctl", "kill", "--signal=KILL", RECONCILER])

    def restart_dbus(self, _: Deployment) -> None:
        """The reconciler loses its connection."""
        self.site.host.run(["systemctl", "restart", "dbus.service"])

    def drop_in(self, one: Deployment) -> None:
        """Somebody changes a unit, and has systemd know."""
        self.site.host.write("/etc/drop-in.d/90.conf", "[Unit]\nDescription=Changed\n")
        self.site.host.run(f"mv /etc/drop-in.d {UNITS}/{self.server(one)}.d; systemctl daemon-reload")

    def edit(self, one: Deployment) -> None:
        """Somebody edits a unit."""
        self.site.host.run(f"sed -i /^LockPersonality/d {UNITS}/{self.server(one)}")

    def delete(self, one: Deployment) -> None:
        """Somebody deletes a unit."""
        self.site.host.run(f"rm {UNITS}/{self.server(one)}; systemctl daemon-reload")

    def kill_server(self, one: Deployment) -> None:
        """It crashes."""
        self.site.host.run(["systemctl", "kill", "--signal=KILL", self.server(one)])

    def server(self, one: Deployment) -> str:
        """The unit that serves."""
        return self.site.host.output(f"sed -n s/^Service=//p {UNITS}/model-{one.name}.socket")

    def look(self) -> None:
        """Hold what always has to hold."""
        host = self.site.host
        host.wait_for_unit(RECONCILER)
        host.wait_for(lambda: self.is_as_expected() or None, 120, f"{self.all} after {self.said}")
        self.site.settle()
        # A server that was killed is back by now; the status says so with the next pass.
        host.wait_for(lambda: self.is_as_expected() or None, 120, f"{self.all} to last after {self.said}")
        for one in self.all.values():
            links = host.output(f"cd {UNITS}; ls -d *.wants/model-{one.name}@* 2>/dev/null || true").split()
            up = "systemctl list-units --plain --no-legend --state=active"
            running = host.output(f"{up} 'model-{one.name}@*' | cut -d' ' -f1").split()
            for version in (BAD, UNSTABLE):
                tries = self.tries(one.name, version) - self.tried[one.name, version]
                assert tries <= one.starts.get(version, 0), self.said
            if one.serving is None:
                continue
            assert running == [self.server(one)], self.said
            assert [link.partition("/")[2] for link in links] == running, self.said
            socket = f"model-{one.name}.socket"
            since = host.output(["systemctl", "show", "--property=ActiveEnterTimestampMonotonic", "--value", socket])
            assert self.listening.setdefault(one.name, since) == since, f"the socket was closed: {self.said}"
        for name in [name for name, one in self.all.items() if one.serving is None]:
            self.listening.pop(name, None)
        if all(one.wanted is None and not one.suspended for one in self.all.values()):
            self.site.wait_for_listing(self.before)

    def is_as_expected(self) -> bool:
        """Whether the status says what the model of it says."""
        statuses = self.site.statuses()
        wanted = {one.name: str(one.wanted) if one.wanted else None for one in self.all.values()}
        return all(
            self.expected(one) == _told(statuses.get(one.name))
            and statuses.get(one.name, {}).get("desired_version") == wanted[one.name]
            for one in self.all.values()
        )

    @staticmethod
    def expected(one: Deployment) -> tuple[str, str | None] | None:
        """State and active version."""
        active = str(one.serving) if one.serving else None
        if one.suspended:
            return "suspended", active
        if one.wanted is None:
            return None
        if one.serving == one.wanted and one.wanted not in one.rejected:
            return "serving", active
        return ("degraded" if one.serving else "failed"), active


def _told(status: dict[str, object] | None) -> tuple[object, object] | None:
    return None if status is None else (status["state"], status["active_version"])


@pytest.mark.by_hand
@pytest.mark.parametrize(("seed", "steps"), [(2, 30), (3, 30)])
def test_whatever_happens_the_host_ends_as_it_should(site: Site, seed: int, steps: int) -> None:
    """One active release, an address that stays, no second try of what was rejected, nothing left of what is gone."""
    walk = Walk(site, seed)
    for _ in range(steps):
        walk.step()
    for one in walk.all.values():
        if one.suspended:
            walk.suspend_or_resume(one)
        if one.wanted is not None:
            walk.demote(one)
    walk.look()
    print(f"seed {seed}: {', '.join(walk.said)}")  # noqa: T201 - the walk is reported
