"""A deploy user who swaps files for links while deployments come, change and go: root touches nothing for it."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host import Layers, Registry, installed_host
from tests.host.host import CHECKOUT_INSIDE
from tests.system.conftest import SETTINGS
from tests.system.site import PYTHON, Site, code
from tests.system.steady import Steady
from tests.system.written import written

pytestmark = [pytest.mark.system, pytest.mark.by_hand, pytest.mark.timeout(600)]

RACER = Path(__file__).with_name("racer.py")
SAID = "/var/tmp/raced"  # noqa: S108 - of the test host, opened by systemd
CANARY = "canary-51b7e2"
# The deploy home and the units are the story's; all else of the disk is compared, to the change of an inode.
CANARIES = (
    "cd /; sha256sum root/canary home/ada/canary etc/shadow; "
    "stat -c '%n %U %G %a %Y %Z' root/canary home/ada{,/canary} etc/shadow root etc"
)
LEFT = "find /etc /root /home /run /tmp /dev/shm -xdev -name '.swapped*' -print"
OF_THE_USER = (
    "find /etc /root /home /usr/local /var /run /dev/shm /tmp "
    "-path /var/lib/mlflow-deploy -prune -o -user mlflow-deploy -print"
)
NAME = "racing"


@pytest.fixture(scope="module")
def site(image: Layers) -> Iterator[Site]:
    """A site where each try comes fast, and secrets are where links lead."""
    with installed_host(image, "race", settings=f"{SETTINGS}mend_budget = 1000\n") as host:
        registry = Registry(host, host.registry_port)
        registry.start()
        site = Site(host, registry)
        host.write("/root/canary", CANARY, 0o600)
        host.run(f"chmod 700 /home/ada; echo {CANARY} >/home/ada/canary; chown ada: /home/ada/canary")
        yield site


@pytest.fixture
def steady(site: Site) -> Iterator[Steady]:
    """Another deployment, asked all the time."""
    site.serve({"name": "bystander", "code": code(([0.25], "positive"))})
    steady = Steady(site.statuses()["bystander"]["url"], ([0.25], "positive"))
    yield steady
    steady.stop()


def settled(site: Site, version: int) -> str:
    """Wait until a version serves, or did not come up for a reason; gives the state."""

    def reached() -> str | None:
        one = site.statuses().get(NAME, {})
        final = one.get("state") in ("serving", "failed", "degraded", "stalled")
        return str(one["state"]) if final and one["desired_version"] == str(version) else None

    return site.host.wait_for(reached, 90, f"version {version} to come up or not")


def story(site: Site) -> list[str]:
    """Update, drift, removal and promotion, of a version that served before; gives the states that it went through."""
    states = []
    site.registry.promote(NAME, 2, archive=True)
    states.append(settled(site, 2))
    site.host.run(f"rm -f /etc/systemd/system/model-{NAME}@*; systemctl daemon-reload")
    site.host.run(["systemctl", "reload", "mlflow-reconciler"])
    states.append(settled(site, 2))
    site.registry.promote(NAME, 2, "Archived")
    site.host.wait_for(lambda: site.statuses().get(NAME, {}).get("state") in (None, "removing"), 60, "its removal")
    site.registry.promote(NAME, 1)
    states.append(settled(site, 1))
    site.registry.promote(NAME, 1, "Archived")
    return states


def test_a_racing_deploy_user_wins_nothing(site: Site, steady: Steady) -> None:
    """Nothing of anybody else's is read, changed, made or removed; the other deployment does not notice."""
    host = site.host
    site.register(*({"name": NAME, "code": code()} for _version in (1, 2, 3)))
    before, disk, listing = host.output(CANARIES), written(host), site.listing()
    site.registry.promote(NAME, 1)
    site.wait_for(NAME, "serving", 1)
    owned = set(host.output(OF_THE_USER).splitlines())
    host.run(
        [
            *("systemd-run", "--quiet", "--unit=racer", "--uid=mlflow-deploy", "--gid=mlflow-deploy"),
            *(f"--property=StandardOutput=truncate:{SAID}", "--property=Nice=10"),
            *(PYTHON, "-I", f"{CHECKOUT_INSIDE}/tests/system/{RACER.name}", NAME),
        ]
    )
    with steady.unharmed(host):
        states = story(site)
    host.run(["systemctl", "stop", "racer"])
    counts = json.loads(host.read(SAID))
    print(f"races tried {counts['tried']}, won {counts['won']}; the story went through {states}")  # noqa: T201 - figures
    assert counts["won"] == 0
    assert counts["tried"] > 1000
    site.wait_until_gone(NAME)
    site.wait_for_listing(listing)

    assert host.output(CANARIES) == before
    assert sorted(written(host) ^ disk) == []
    assert set(host.output(OF_THE_USER).splitlines()) <= owned
    assert not host.output(LEFT)
    assert not host.output(
        f"grep -rl {CANARY} /run/mlflow-reconciler /run/mlflow-registry-agent /var/lib/mlflow-deploy || true"
    )
    assert not host.output(f"journalctl --no-pager -o cat | grep {CANARY} || true")
    assert not host.output("find /var/lib/mlflow-deploy -xdev -perm /6000")

    site.registry.promote(NAME, 3)
    site.wait_for(NAME, "serving", 3)
    site.demote(NAME)
    site.wait_for_listing(listing)
