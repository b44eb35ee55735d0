"""A host set up by hand as SPIRA's manual said, with real Docker: a deployment takes over from it, and gives back.

The container is a stand-in of the original server: core NATS, one request after the other, nothing kept of what fails.
"""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.host import Layers, Registry, docker, installed_host
from tests.nats_server import Nats, nats_server
from tests.s3 import Buckets, buckets
from tests.spira import by_hand
from tests.system.api_thread import ECHO, NAME, Api
from tests.system.conftest import SETTINGS
from tests.system.site import Site, code

pytestmark = [
    pytest.mark.system,
    pytest.mark.exhaustive,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(docker.MISSING), reason=f"needs Debian's docker.io and docker-compose: {docker.MISSING}"),
]

UNIT = f"docker-compose-model@{NAME}.service"
BRIDGE = f"nats-bridge@{NAME}.service"
SPIRA = Path(__file__).parents[1] / "spira"
STAND_IN = f"{(SPIRA / 'original_server.py').read_text()}".replace("sys.argv[1]", "'model.py'")
BACKUP = f"/var/lib/mlflow-reconciler/adopted/{NAME}"
BURST = 150
RATE = 8.0
"""Requests per second. The old server answers one after the other, and what waits for it for half a minute is answered
by the bridge as well; so the rate is one that it keeps up with on a busy machine."""


@dataclass
class OldHost:
    """A host on which the manual was followed, and on which the product was installed later."""

    site: Site
    broker: Nats
    store: Buckets
    directory: str

    @property
    def line(self) -> str:
        """What the status says of the bridge."""
        return str(self.site.statuses()[NAME]["nats"])

    def is_up(self, unit: str) -> bool:
        """Whether a unit is active."""
        return self.site.host.run(["systemctl", "is-active", "--quiet", unit], check=False).returncode == 0

    def adopt(self, *options: str) -> str:
        """Run the command; gives what it printed."""
        return self.site.host.output(["reconciler", "adopt", NAME, *options], timeout=300)


@pytest.fixture(scope="module", params=["core NATS", pytest.param("JetStream", marks=pytest.mark.by_hand)])
def old_host(
    image: Layers, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[OldHost]:
    """The old server answers over NATS; a model of the same name serves over HTTP."""
    directory = tmp_path_factory.mktemp("old")
    with (
        nats_server(directory / "nats", jetstream=request.param == "JetStream") as broker,
        buckets(directory / "s3") as store,
        docker.storage() as options,
        installed_host(image, "old", settings=SETTINGS, nspawn_options=options) as host,
    ):
        docker.start(host)
        model = (SPIRA / "echo.py").read_bytes()
        docker.make_image(host, by_hand.IMAGE, {"main.py": STAND_IN.encode(), "model.py": model})
        place = by_hand.set_up(host, NAME, broker.url, store)
        registry = Registry(host, host.registry_port)
        registry.start()
        site = Site(host, registry)
        host.write("/etc/credstore/recordings.aws", store.credential, 0o600)
        site.change_settings(
            "nats.toml", f'[deploy]\nbrokers = ["{broker.url}"]\n[nats]\ns3_endpoint_url = "{store.url}"\n'
        )
        host.wait_for(lambda: "listening" in host.journal("--unit", UNIT) or None, 120, "the old server to listen")
        site.serve({"name": NAME, "code": code(on_predict=ECHO)})
        yield OldHost(site, broker, store, place)


def test_until_somebody_says_so_the_old_server_answers_alone(old_host: OldHost) -> None:
    """The status tells operators what they can do; the command shows it and does nothing."""
    told = old_host.site.statuses()[NAME]
    assert f"NATS: {UNIT}, made by hand, answers; reconciler adopt {NAME} has this deployment answer" in told["message"]
    assert told["state"] == "serving"
    assert not old_host.is_up(BRIDGE)
    shown = old_host.site.host.run(["reconciler", "adopt", NAME], check=False)
    assert shown.returncode == 2
    assert f"which works in {old_host.directory}" in shown.stdout
    assert "nothing was done; give --yes to do it" in shown.stderr
    assert old_host.is_up(UNIT)
    api = Api(old_host.broker, old_host.store)
    api.store(["before"])
    api.load_one("before")
    assert api.settle().is_perfect
    api.close()
    # The file that the manual had people link there is somebody's; the check says what becomes of it.
    assert f"reconciler adopt {NAME}" in old_host.site.host.run(["reconciler", "check"], check=False).stdout


def test_no_request_is_lost_and_none_answered_twice_when_it_is_adopted(old_host: OldHost) -> None:
    """The old server ends with requests in its queue, as it always did."""
    host = old_host.site.host
    before = files_of(old_host)
    judgement = under_load(old_host, "a", lambda: old_host.adopt("--yes"))
    assert judgement["perfect"], judgement
    assert not old_host.is_up(UNIT)
    host.wait_for(lambda: old_host.line.startswith("connected") or None, 60, "the bridge to answer everything")
    assert host.run(["ls", f"/etc/systemd/system/{UNIT}"], check=False).returncode != 0
    assert files_of(old_host) == before, "the user's own directory was changed"
    kept = json.loads(host.read(f"{BACKUP}/unit.json"))
    assert kept["links"] == [
        {"path": f"/etc/systemd/system/{UNIT}", "target": f"{old_host.directory}/docker-compose-model@.service"}
    ]
    assert "./.env" in host.output(f"tar --list --file {BACKUP}/files.tar")
    assert host.output(f"stat --format=%a {BACKUP}") == "700"


def test_no_request_is_lost_when_it_is_given_back(old_host: OldHost) -> None:
    """The old server takes seconds to start; the bridge answers until it does."""
    judgement = under_load(old_host, "b", lambda: old_host.adopt("--undo", "--yes"))
    assert judgement["perfect"], judgement
    assert old_host.is_up(UNIT)
    host = old_host.site.host
    host.wait_for(lambda: not old_host.is_up(BRIDGE) or None, 60, "the bridge to be gone")
    assert host.output(f"readlink /etc/systemd/system/{UNIT}") == f"{old_host.directory}/docker-compose-model@.service"
    assert host.run(["ls", BACKUP], check=False).returncode != 0
    assert old_host.site.statuses()[NAME]["state"] == "serving"


def files_of(old_host: OldHost) -> str:
    """Everything in the user's directory, with owners, modes and digests."""
    place = old_host.directory
    return old_host.site.host.output(f"cd {place}; find . -printf '%p %u %m %T@\n' | sort; sha256sum $(find . -type f)")


def under_load(old_host: OldHost, prefix: str, action: "object") -> dict[str, object]:
    """Do something while requests come all the time; gives what became of all of them."""
    api = Api(old_host.broker, old_host.store)
    api.store([f"{prefix}{number:05d}" for number in range(2 * BURST)])
    loading = api.load(0, 2 * BURST, prefix, RATE)
    api.wait_for_results(20)
    assert callable(action)
    done = threading.Thread(target=action)
    done.start()
    loading.result(300)
    judgement = api.settle()
    done.join(300)
    assert not done.is_alive()
    api.close()
    return {**vars(judgement), "perfect": judgement.is_perfect}
