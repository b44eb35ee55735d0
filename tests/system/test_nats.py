"""Inference over NATS on a booted host: a real broker and a real store beside it, and a client that knows only the API.

The client's requests go on through hand-overs, while broker, store and bridge end and come back.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.host import Layers, Registry, installed_host
from tests.nats_server import Nats, nats_server
from tests.s3 import Buckets, buckets
from tests.system.api_thread import ECHO, NAME, Api
from tests.system.conftest import SETTINGS
from tests.system.site import Site, code
from tests.system.test_trust import exposure

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

BRIDGE = f"nats-bridge@{NAME}.service"
EACH = 200
"""Requests of each hand-over, at least."""
HAND_OVERS = 5


@dataclass
class Hospital:
    """A host whose models answer over NATS, its broker and its store."""

    site: Site
    broker: Nats
    store: Buckets
    directory: Path

    @property
    def line(self) -> str:
        """What the status says of the bridge."""
        return str(self.site.statuses()[NAME]["nats"])

    def wait_for_line(self, beginning: str) -> str:
        """Wait until the bridge says something that begins so."""

        def said() -> str | None:
            line = self.line
            return line if line.startswith(beginning) else None

        return self.site.host.wait_for(said, 120, f"the bridge to say {beginning!r}")


@pytest.fixture(scope="module", params=["JetStream", pytest.param("core NATS", marks=pytest.mark.by_hand)])
def hospital(
    image: Layers, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hospital]:
    """A host on which version 1 of a model answers over NATS."""
    directory = tmp_path_factory.mktemp("hospital")
    settings = SETTINGS + "[deploy]\nsoak = 2\n"
    with (
        nats_server(directory / "nats", jetstream=request.param == "JetStream") as broker,
        buckets(directory / "s3") as store,
        installed_host(image, "nats", settings=settings) as host,
    ):
        registry = Registry(host, host.registry_port)
        registry.start()
        site = Site(host, registry)
        host.write("/etc/credstore/recordings.aws", store.credential, 0o600)
        site.change_settings(
            "nats.toml", f'[deploy]\nbrokers = ["{broker.url}"]\n[nats]\ns3_endpoint_url = "{store.url}"\n'
        )
        site.serve({"name": NAME, "code": code(on_predict=ECHO)})
        found = Hospital(site, broker, store, directory)
        found.wait_for_line("connected")
        yield found


def test_each_request_has_one_right_result_through_hand_overs_and_faults(hospital: Hospital) -> None:
    """A thousand requests and more, at 50 per second; by JetStream with broker, store and bridge ended meanwhile."""
    site = hospital.site
    faults: dict[int, Callable[[], object]] = {}
    if hospital.broker.jetstream:
        faults = {2: hospital.broker.restart, 3: hospital.store.restart, 4: lambda: kill_bridge(hospital)}
    for _ in range(HAND_OVERS):
        site.register({"name": NAME, "code": code(on_predict=ECHO)})
    api = Api(hospital.broker, hospital.store)
    begin = 0
    for number in range(1, HAND_OVERS + 1):
        version = number + 1
        api.store([f"i{one:05d}" for one in range(begin, begin + EACH)])
        site.registry.promote(NAME, version)
        wait_for_server(hospital, version)
        loading = api.load(begin, EACH)
        begin += EACH
        if number in faults:
            faults[number]()
        site.wait_for(NAME, "serving", version)
        loading.result(120)
    judgement = api.settle()
    api.close()
    assert judgement.is_perfect, judgement
    assert judgement.published == HAND_OVERS * EACH


def wait_for_server(hospital: Hospital, version: int) -> None:
    """Wait until the server of a version begins to load."""
    host = hospital.site.host
    units = ["systemctl", "list-units", "--all", "--plain", "--no-legend", f"model-{NAME}@{version}.*"]
    host.wait_for(lambda: host.output(units) or None, 120, f"version {version} to load")


def kill_bridge(hospital: Hospital) -> None:
    """Kill the bridge as a crash would; systemd starts it again."""
    hospital.site.host.run(["systemctl", "kill", "--signal=KILL", BRIDGE])


def test_the_status_and_the_journal_tell_of_a_broker_that_is_gone(hospital: Hospital) -> None:
    """Where people look already, and without what patients said."""
    hospital.broker.end()
    try:
        hospital.wait_for_line("connecting: cannot reach the broker at nats://127.0.0.1:")
        told = hospital.site.statuses()[NAME]
        assert told["state"] == "serving"
        assert "NATS: connecting: cannot reach the broker" in told["message"]
        shown = hospital.site.host.output("reconciler status")
        assert "NATS: connecting: cannot reach the broker" in shown
    finally:
        hospital.broker.start()
    hospital.wait_for_line("connected")
    journal = hospital.site.host.journal(f"MODEL={NAME}", "--output=cat")
    assert "cannot reach the broker at nats://127.0.0.1:" in journal
    assert "12345678" not in journal, "what was said of a patient is in the journal"


def test_its_sandbox_is_safe_and_has_no_model(hospital: Hospital) -> None:
    """It has a network, and neither the files of models nor the settings of the host."""
    host = hospital.site.host
    assert exposure(hospital.site, BRIDGE) <= 1.7
    pid = host.output(f"systemctl show --property=MainPID --value {BRIDGE}")
    inside = f"nsenter --target {pid} --mount ls /var/lib/mlflow-deploy /etc/mlflow-reconciler 2>&1 || true"
    seen = host.output(inside)
    assert "model_deploys" not in seen
    assert "config.toml" not in seen
    assert host.output(f"ps -o user= -p {pid}") not in ("root", "mlflow-deploy")


def test_operators_open_other_networks_to_all_bridges(hospital: Hospital) -> None:
    """By the drop-in that the documents name, which the reconciler leaves alone."""
    host = hospital.site.host
    host.write("/etc/systemd/system/nats-bridge@.service.d/network.conf", "[Service]\nIPAddressAllow=203.0.113.7\n")
    host.run("systemctl daemon-reload; systemctl restart 'nats-bridge@*'")
    hospital.wait_for_line("connected")
    hospital.site.settle()
    assert "203.0.113.7/32" in host.output(f"systemctl show --property=IPAddressAllow --value {BRIDGE}")


def test_a_demoted_model_ends_its_bridge(hospital: Hospital) -> None:
    """Nothing of it is left."""
    # Every version of it was in Production.
    for version in range(1, HAND_OVERS + 1):
        hospital.site.registry.promote(NAME, version, "Archived")
    hospital.site.demote(NAME)
    host = hospital.site.host
    assert host.run(["systemctl", "cat", BRIDGE], check=False).returncode != 0
    assert not host.output("ls /etc/systemd/system/multi-user.target.wants | grep nats-bridge || true")
