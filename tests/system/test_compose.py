"""Releases in containers, with a real engine: from the first start to the removal, and what people see of each."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.host import Layers, Registry, docker, installed_host
from tests.load import Load
from tests.nats_server import nats_server
from tests.s3 import buckets
from tests.system.api_thread import ECHO, Api
from tests.system.api_thread import NAME as ASKED
from tests.system.conftest import SETTINGS
from tests.system.site import Site, code
from tests.system.test_trust import exposure

pytestmark = [
    pytest.mark.system,
    pytest.mark.exhaustive,
    pytest.mark.timeout(900),
    pytest.mark.skipif(bool(docker.MISSING), reason=f"needs Debian's docker.io and docker-compose: {docker.MISSING}"),
]

NAME = "Boxed"
UNIT = f"docker-compose-model@{NAME}.service"
SPIRA = Path(__file__).parents[1] / "spira"
# The stand-in of SPIRA's first server, its model beside it.
FIRST_SERVER = (SPIRA / "original_server.py").read_text().replace("sys.argv[1]", "'model.py'")


class Boxes(Site):
    """A site whose models run in containers."""

    engine = "docker"

    def ask(self, arguments: str) -> str:
        """Ask the engine by its own command."""
        return self.host.output(f"{self.engine} {arguments}")

    def running(self) -> list[str]:
        """The ids of containers that run."""
        return self.ask("ps --no-trunc --format {{.ID}}").split()

    def container(self) -> dict[str, Any]:
        """What the engine says of the one container."""
        (found,) = self.ask("ps --all --no-trunc --format {{.ID}}").split()
        shown: list[dict[str, Any]] = json.loads(self.ask(f"inspect {found}"))
        return shown[0]

    def left(self) -> str:
        """What the engine has but for images."""
        networks = "network ls --quiet --filter type=custom" if self.engine == "docker" else "network ls --quiet"
        known = "" if self.engine == "docker" else "podman"
        found = f"{self.ask('ps --all --quiet')} {self.ask(networks)} {self.ask('volume ls --quiet')}"
        return " ".join(word for word in found.split() if word != known)

    def server(self) -> str:
        """The unit of the active release's server, whether it runs or not."""
        listed = f"systemctl list-units --all --plain --no-legend 'model-{NAME}@*.service' | cut -d' ' -f1"
        return self.host.output(listed).split()[-1]

    def says(self, version: int) -> bool:
        """Whether a version answers."""
        try:
            return bool(self.predict(NAME, {}, {}).json() == answer(version))
        except httpx.HTTPError:
            return False


@pytest.fixture(scope="module", params=["docker", pytest.param("podman", marks=pytest.mark.by_hand)])
def site(image: Layers, request: pytest.FixtureRequest) -> Iterator[Boxes]:
    """A host with an engine and an image with Python, whose models run in containers."""
    with docker.storage() as options, installed_host(image, "boxes", settings=SETTINGS, nspawn_options=options) as host:
        docker.start(host, request.param)
        base = docker.make_image(host, "base", {}, engine=request.param)
        registry = Registry(host, host.registry_port)
        registry.start()
        site = Boxes(host, registry)
        site.engine = request.param
        site.change_settings(
            "compose.toml",
            '[deploy]\nruntime = "compose"\nmemory_max = "1G"\n[policy]\nruntimes = ["native", "compose"]\n'
            f'[compose]\nengine = "{site.engine}"\nbase = "{base}"\n',
        )
        site.serve({"name": NAME, "code": code(([1.0], "negative"))}, deadline=300)
        yield site


def answer(version: int) -> dict[str, Any]:
    """What a version answers."""
    return {"output": [float(version)], "diagnosis": "negative"}


def wait_until_another_runs(site: Boxes, than: str) -> None:
    """Wait until the server has a new container and answers again."""

    def answers() -> bool | None:
        running = site.running()
        is_up = site.host.run(["systemctl", "is-active", "--quiet", site.server()], check=False).returncode == 0
        return (bool(running) and than not in running and is_up) or None

    site.host.wait_for(answers, 120, "another container")
    assert site.predict(NAME, {}, {}).json() == answer(1)


def test_a_release_serves_from_a_container_that_may_do_nothing_else(site: Boxes) -> None:
    """The engine says so, and the file that compose was given can be read."""
    assert site.predict(NAME, {}, {}).json() == answer(1)
    seen = site.container()
    limits = seen["HostConfig"]
    assert (limits["ReadonlyRootfs"], limits["NetworkMode"]) == (True, "none")
    assert (limits["Memory"], limits["MemorySwap"], limits["PidsLimit"]) == (1 << 30, 1 << 30, 512)
    assert limits["NanoCpus"] == min(4, os.cpu_count() or 1) * 1_000_000_000
    assert limits["RestartPolicy"]["Name"] in ("", "no")
    assert [mount for mount in seen["Mounts"] if mount["RW"]] == []
    # What the kernel says, of the application and of the engine's init above it.
    above = seen["State"]["Pid"]
    for pid in site.host.output(f"echo {above}; cat /proc/{above}/task/{above}/children").split():
        facts = dict(line.split(":", 1) for line in site.host.read(f"/proc/{pid}/status").splitlines())
        shown = {key: facts[key].split()[0] for key in ("Uid", "Gid", "CapPrm", "CapEff", "CapBnd", "NoNewPrivs")}
        none = "0" * 16
        assert shown == {
            **{"Uid": "65532", "Gid": "65532", "NoNewPrivs": "1"},
            **dict.fromkeys(("CapPrm", "CapEff", "CapBnd"), none),
        }
    file = site.host.output("cat /run/mlflow-compose/*/docker-compose.server.yml")
    assert "read_only: true" in file
    project = seen["Config"]["Labels"]["com.docker.compose.project"]
    assert project.startswith("boxed-")
    version = seen["Config"]["Labels"]["com.docker.compose.version"]
    assert version.startswith("2" if docker.TESTED_COMPOSE else "1"), version
    assert project == project.lower()
    assert site.host.output(["systemctl", "is-active", UNIT]) == "active"
    site.host.run(["reconciler", "check"])
    assert exposure(site, site.server()) <= 3.0


@pytest.mark.parametrize(
    "how",
    [
        # Its child: the first process is the engine's own init.
        "pid=$(ENGINE inspect --format {{.State.Pid}} ID); kill -KILL $(cat /proc/$pid/task/$pid/children)",
        "ENGINE kill ID",
    ],
    ids=["the application is killed", "the container is killed"],
)
def test_what_is_killed_is_told_and_started_again_by_systemd(site: Boxes, how: str) -> None:
    """By nobody else: the engine restarts nothing."""
    before = site.container()["Id"]
    site.host.run(how.replace("ID", before).replace("ENGINE", site.engine))
    wait_until_another_runs(site, before)
    story = " ".join(str(entry["MESSAGE"]) for entry in site.story(NAME))
    assert f"cannot keep {NAME}@" in story
    assert "its container was killed (code 137)" in story
    site.wait_for(NAME, "serving", 1)
    restarts = site.host.output(["systemctl", "show", "--property=NRestarts", "--value", site.server()])
    assert int(restarts) >= 1


def test_an_update_loses_no_request(site: Boxes) -> None:
    """The new container serves before the old one stands by, as without containers; then the old one is gone."""
    site.register({"name": NAME, "code": code(([2.0], "negative"))})
    status = site.statuses()[NAME]
    port = int(status["url"].rpartition(":")[2])
    unix = f"/proc/{site.host.init}/root{status['socket']}"
    before = site.container()["Id"]
    with Load({"1": answer(1), "2": answer(2)}, tcp=("127.0.0.1", port), unix=unix, rate=40) as load:
        load.wait_for_more(100, release="1")
        site.registry.promote(NAME, 2, archive=True)
        load.wait_for_more(200, release="2")
        site.wait_for(NAME, "serving", 2)
    assert load.totals.harm() == []
    site.host.wait_for(lambda: before not in site.ask("ps --all --no-trunc") or None, 90, "the old container to go")
    assert site.predict(NAME, {}, {}).json() == answer(2)


def test_a_model_that_cannot_be_loaded_says_why_from_its_container(site: Boxes) -> None:
    """Its own server's sentence; the version before goes on serving."""
    site.register({"name": NAME, "code": code(on_load="import nowhere")})
    site.registry.promote(NAME, 3, archive=True)
    told = site.wait_for(NAME, "degraded", 3)
    assert "No module named 'nowhere'" in told["message"]
    assert site.predict(NAME, {}, {}).json() == answer(2)
    site.registry.promote(NAME, 2, archive=True)
    site.wait_for(NAME, "serving", 2)


def test_the_name_that_people_know_stops_and_restarts_the_containers(site: Boxes) -> None:
    """It stands for all servers of the model."""
    before = site.container()["Id"]
    site.host.run(["systemctl", "restart", UNIT], timeout=120)
    site.host.wait_for(lambda: (site.running() and before not in site.running()) or None, 90, "another container")
    site.host.wait_for(lambda: site.says(2) or None, 90, "it to answer")


def test_the_engine_ends_and_comes_back(site: Boxes) -> None:
    """Its containers end with it. The journal says who is to blame, and no release is rejected for it."""
    if site.engine == "podman":
        pytest.skip("Podman has no daemon that could end")
    site.host.run("systemctl stop docker.socket docker.service", timeout=120)
    said = "cannot reach the container engine"
    site.host.wait_for(
        lambda: any(said in str(entry["MESSAGE"]) for entry in site.story(NAME)) or None, 120, "the journal to say it"
    )
    site.host.run("systemctl start docker.service", timeout=120)
    site.host.wait_for(lambda: site.says(2) or None, 120, "it to answer again")
    site.wait_for(NAME, "serving", 2)


def test_a_reboot_brings_the_containers_back(site: Boxes) -> None:
    """Nothing of before the boot is in the way."""
    before = site.container()["Id"]
    site.host.power_off()
    site.host.boot()
    docker.start(site.host, site.engine)
    site.host.wait_for(lambda: site.says(2) or None, 180, "it to answer after the boot")
    assert site.container()["Id"] != before
    site.registry.start()


def test_an_image_that_asks_the_broker_itself_is_run_as_its_own_file_had_it(
    site: Boxes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """SPIRA's first server: its variables are filled, there is no bridge beside it, and it is never there twice."""
    directory = tmp_path_factory.mktemp("first")
    with nats_server(directory / "nats") as broker, buckets(directory / "s3") as store:
        site.host.write("/etc/credstore/recordings.aws", store.credential, 0o600)
        files = {"main.py": FIRST_SERVER.encode(), "model.py": (SPIRA / "echo.py").read_bytes()}
        first = docker.make_image(site.host, "first", files, engine=site.engine)
        site.change_settings(
            "compose.toml",
            f'[deploy]\nruntime = "compose"\nbrokers = ["{broker.url}"]\n[policy]\nruntimes = ["native", "compose"]\n'
            f'[compose]\nengine = "{site.engine}"\nimage = "{first}"\n'
            'command = ["python", "main.py"]\nnetwork = "host"\n'
            f'[nats]\ns3_endpoint_url = "{store.url}"\n',
        )
        site.serve({"name": ASKED, "code": code(on_predict=ECHO)})
        wait_until_it_listens(site, 1)
        api = Api(broker, store)
        api.store(["first", "second"])
        api.load_one("first")
        assert api.settle().is_perfect
        api.close()
        assert f"nats-bridge@{ASKED}" not in site.host.output("ls /etc/systemd/system")
        url = site.statuses()[ASKED]["url"]
        assert httpx.get(f"{url}/ping", trust_env=False).status_code == 200
        assert httpx.post(f"{url}/predict", trust_env=False).status_code == 501
        file = site.host.output(f"cat /run/mlflow-compose/{ASKED}@*/docker-compose.server.yml")
        assert store.secret_key not in file
        assert f"{ASKED}-topic" in file
        site.register({"name": ASKED, "code": code(on_predict=ECHO)})
        site.registry.promote(ASKED, 2, archive=True)
        site.wait_for(ASKED, "serving", 2)
        wait_until_it_listens(site, 2)
        api = Api(broker, store)
        api.load_one("second")
        assert api.settle().is_perfect
        api.close()
        site.demote(ASKED)


def wait_until_it_listens(site: Boxes, times: int) -> None:
    """Wait until the first server has said so: its image has no health check, and core NATS keeps nothing for it."""

    def listens() -> bool | None:
        said = [str(entry["MESSAGE"]) for entry in site.story(ASKED)]
        return said.count("listening") >= times or None

    site.host.wait_for(listens, 120, f"the first server to listen {times} times")


def test_nothing_is_left_of_a_model_that_is_removed(site: Boxes) -> None:
    """No container, network, volume, unit or file; the images that people loaded are theirs."""
    site.demote(NAME)
    host = site.host
    host.wait_for(lambda: site.left() == "" or None, 90, "the engine to have nothing of ours")
    assert host.output("ls /run/mlflow-compose 2>/dev/null || true") == ""
    assert host.output("ls /etc/systemd/system | grep -E 'compose|Boxed' || true") == ""
    images = {name.rpartition("/")[2] for name in site.ask("images --format {{.Repository}}").split()}
    assert {"base"} <= images <= {"base", "first"}
