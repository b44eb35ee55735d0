"""Whatever the registry or its snapshot come to, what is deployed stays as it is, and the status says what is wrong."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.agent.broken import Broken
from tests.host import Layers, Registry, installed_host
from tests.system.conftest import SETTINGS
from tests.system.site import Site, code
from tests.system.steady import Steady

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

AGENT = "mlflow-registry-agent.service"
DIRECTORY = "/run/mlflow-registry-agent"
SNAPSHOT = f"{DIRECTORY}/registry.json"
FILES = "cd /etc/systemd/system; sha256sum model-* mlflow-*@*; ls *.wants"
STATE = f"""
    units=$(systemctl list-units --all --plain --no-legend 'model-*' 'mlflow-*@*' | cut -d' ' -f1 | sort)
    systemctl show --property Id,InvocationID,ActiveState,ActiveEnterTimestampMonotonic,NRestarts $units
    find /var/lib/mlflow-deploy | sort
    {FILES}
"""


ANSWERS = {
    "hanging": "no complete answer within 5 s",
    "error 500": "it answered HTTP 500",
    "html": "its answer is not MLflow's",
    "error 401": "it asks for credentials (HTTP 401)",
    "truncated": "it broke off its answer",
    "half a document": "its answer is not MLflow's",
    "half the versions": "it names version 2 of 'demo' but does not list it",
    "garbage types": "its answer is not MLflow's",
    "redirect": "it answered HTTP 302",
    "null": "its answer is not MLflow's",
    "dripping": "no complete answer within 5 s",
    # The last one: a server that becomes MLflow while it is asked would be an empty registry, and believed.
    "not MLflow": "it has no models and does not say that it is MLflow",
}
SNAPSHOTS = {
    "missing": f"{SNAPSHOT}: No such file or directory",
    "truncated": f"{SNAPSHOT}: the document: Invalid JSON",
    "another schema": f"{SNAPSHOT}: schema: Input should be 1",
    "another user's": "expected",
    "garbage types": f"{SNAPSHOT}: models.0: Input should be an object",
    "world-writable": f"{SNAPSHOT}: others may write to it",
    "symlink": f"{SNAPSHOT}: Too many levels of symbolic links",
    "hard link": f"{SNAPSHOT}: it has 2 names",
    "20 MB": " bytes, at most 16777216 are read",
    "directory": f"{SNAPSHOT}: not a regular file",
    "root's": f"{SNAPSHOT}: owned by user 0, expected ",
    "fifo": f"{SNAPSHOT}: not a regular file",
}


@pytest.fixture(scope="module")
def site(image: Layers) -> Iterator[Site]:
    """A site that looks more often whether its snapshot is fresh."""
    with installed_host(image, "bad-registry", settings=f"{SETTINGS}interval = 5\n") as host:
        registry = Registry(host, host.registry_port)
        registry.start()
        yield Site(host, registry)


@pytest.fixture(scope="module")
def steady(site: Site) -> Iterator[Steady]:
    """Two models that serve; one is asked all the time."""
    site.register(
        {"name": "ears", "code": code(([0.25], "positive"))},
        *({"name": "voice", "code": code()} for _version in (1, 2, 3)),
    )
    for name in ("ears", "voice"):
        site.registry.promote(name, 1)
    site.wait_for("voice", "serving", 1)
    steady = Steady(site.wait_for("ears", "serving", 1)["url"], ([0.25], "positive"))
    yield steady
    steady.stop()


@pytest.fixture
def nothing_changes(site: Site, steady: Steady) -> Iterator[None]:
    """No unit is started, stopped or rewritten, no file comes or goes, and every request is answered."""
    before = site.host.output(STATE)
    with steady.unharmed(site.host):
        yield
        assert site.host.output(STATE) == before


unchanged = pytest.mark.usefixtures("nothing_changes")


@pytest.fixture(scope="module")
def broken(site: Site) -> Iterator[Broken]:
    """A registry that misbehaves, in the place of the real one, which is stopped by now."""
    registry = Broken()
    registry.stop()
    registry.port = site.registry.port
    registry.mode = "error 500"
    registry.start()
    yield registry
    registry.stop()


def told(site: Site, why: str, deadline: float = 60) -> dict[str, Any]:
    """Wait until the status says that the registry cannot be read, and why."""

    def unreachable() -> dict[str, Any] | None:
        status = site.registry_status()
        return status if not status["reachable"] and why in status["message"] else None

    return site.host.wait_for(unreachable, deadline, f"a status that says {why!r}, not {site.registry_status()}")


def wait_until_reachable(site: Site) -> None:
    """Wait until the status says that the snapshot is fresh."""
    site.host.wait_for(lambda: site.registry_status()["reachable"] or None, 60, "the registry to be reachable")


@unchanged
def test_a_registry_that_is_down_is_said_to_be(site: Site) -> None:
    """With its address and the time of the last reading; the deployments are shown as they are."""
    read_at = site.registry_status()["read_at"]
    site.registry.stop()
    status = told(site, f"cannot read the registry at {site.registry.uri}: connection refused")
    assert status["read_at"] >= read_at
    assert {one["state"] for one in site.statuses().values()} == {"serving"}
    assert ": cannot read the registry at" in site.host.output(["reconciler", "status"])
    assert "connection refused" in site.host.output("systemctl status --no-pager mlflow-reconciler | grep Status:")
    assert "going by the last snapshot: cannot read" in site.host.journal("-t", "reconciler")


@unchanged
@pytest.mark.parametrize("mode", ANSWERS)
def test_a_registry_that_misbehaves_changes_nothing(site: Site, broken: Broken, mode: str) -> None:
    """The status says what came back; each reason differs from the one before it, so it is this one's."""
    broken.mode = mode
    assert told(site, ANSWERS[mode])["message"].startswith(f"cannot read the registry at {site.registry.uri}: ")


@unchanged
def test_units_that_somebody_damages_are_mended_without_the_registry(site: Site, broken: Broken) -> None:
    """From the last snapshot: what was changed is restored, what was removed comes back, and nothing is restarted."""
    broken.stop()
    told(site, "connection refused")
    wanted = site.host.output(FILES)
    for damage in (
        "echo 'ExecStartPre=/bin/false' >>model-voice@*.service",
        "rm model-voice.socket",
        "rm *.wants/model-voice@*.service",
    ):
        site.host.run(f"cd /etc/systemd/system; {damage}")
        site.host.wait_for(lambda: site.host.run(FILES, check=False).stdout.strip() == wanted, 60, f"no more: {damage}")


@unchanged
def test_a_restart_without_the_registry_goes_by_the_last_snapshot(site: Site) -> None:
    """The reconciler, the agent and their files in /run may go: nothing is taken for an empty registry."""
    site.host.run(f"systemctl stop mlflow-reconciler {AGENT}; rm -rf /run/mlflow-reconciler/* {DIRECTORY}/*")
    site.host.run(f"systemctl start mlflow-reconciler {AGENT}", timeout=120)
    told(site, "connection refused")
    assert {name: one["state"] for name, one in site.statuses().items()} == {"ears": "serving", "voice": "serving"}


@unchanged
def test_it_recovers_by_itself(site: Site, broken: Broken) -> None:
    """As soon as the registry answers."""
    broken.stop()
    site.registry.start()
    wait_until_reachable(site)


def put(site: Site, text: str, then: str, *, owner: str = "mlflow-agent", mode: str = "0644") -> None:
    """Write a snapshot beside the agent's, and let `then` make of it what takes the place of the agent's."""
    make = f"cd {DIRECTORY}; rm -rf registry.json *; install -o {owner} -g {owner} -m {mode} /dev/stdin new; {then}"
    site.host.run(["bash", "-ec", make], stdin=text)


def empty(good: dict[str, Any]) -> str:
    """Write a snapshot that selects nothing: believing it would remove every deployment."""
    return json.dumps({**good, "models": [], "not_deployable": []})


@pytest.fixture(scope="module")
def good(site: Site) -> dict[str, Any]:
    """The agent's last snapshot, after which the agent is stopped."""
    site.host.run(["systemctl", "stop", AGENT])
    snapshot: dict[str, Any] = json.loads(site.host.read(SNAPSHOT))
    assert [model["name"] for model in snapshot["models"]] == ["ears", "voice"]
    return snapshot


@unchanged
@pytest.mark.usefixtures("good")
def test_an_agent_that_is_stopped_is_said_to_be(site: Site) -> None:
    """Its snapshot grows old, and that is all."""
    told(site, "the snapshot was not confirmed lately; mlflow-registry-agent says 'stopped'")


@unchanged
@pytest.mark.parametrize("kind", SNAPSHOTS)
def test_a_snapshot_that_is_not_as_it_should_be_is_not_believed(site: Site, good: dict[str, Any], kind: str) -> None:
    """The last accepted one stays in force; each of these would select nothing."""
    nothing = empty(good)
    move = "mv new registry.json"
    match kind:
        case "missing":
            put(site, nothing, "rm new")
        case "truncated":
            put(site, json.dumps(good)[:-40], move)
        case "another schema":
            put(site, json.dumps({**json.loads(nothing), "schema": 2}), move)
        case "another user's":
            put(site, nothing, move, owner="mlflow-deploy")
        case "garbage types":
            put(site, json.dumps({**good, "models": [7]}), move)
        case "world-writable":
            put(site, nothing, move, mode="0666")
        case "symlink":
            put(site, nothing, "mv new other; ln -s other registry.json")
        case "hard link":
            put(site, nothing, "ln new registry.json")
        case "20 MB":
            put(site, nothing + " " * 20_000_000, move)
        case "directory":
            put(site, nothing, "mkdir registry.json; mv new registry.json/")
        case "root's":
            put(site, nothing, move, owner="root")
        case "fifo":
            put(site, nothing, "mkfifo registry.json; chown mlflow-agent registry.json")
    assert told(site, SNAPSHOTS[kind])["message"].startswith("cannot use the agent's snapshot: ")


@unchanged
@pytest.mark.usefixtures("good")
def test_started_again_the_agent_puts_its_snapshot_in_place(site: Site) -> None:
    """Whatever is there by then."""
    site.host.run(["systemctl", "start", AGENT])
    wait_until_reachable(site)


@pytest.mark.parametrize(
    ("version", "damage"), [(2, "rm"), (3, "sed -i '/^ListenStream=127/d'")], ids=["removed", "edited"]
)
def test_a_socket_that_systemd_emptied_is_left_to_what_serves(
    site: Site, steady: Steady, version: int, damage: str
) -> None:
    """A reload while the file was gone or edited closes what the socket listened on, and no later one opens it.

    A new version gets nothing to listen on and is rejected: its word is no reason to stop what answers. A person has
    the socket started anew.
    """
    with steady.unharmed(site.host):
        site.host.run(
            f"systemctl stop mlflow-reconciler; {damage} /etc/systemd/system/model-voice.socket; "
            "systemctl daemon-reload; systemctl start mlflow-reconciler",
            timeout=120,
        )
        assert site.predict("voice", {}, {}).status_code == 200, "what serves has its own hold of the addresses"
        before = site.statuses()["voice"]["active_version"]
        site.registry.promote("voice", version, archive=True)
        one = site.wait_for("voice", "degraded", version)
        assert "sockets were passed" in one["message"]
        assert one["active_version"] == before
        assert site.predict("voice", {}, {}).status_code == 200
        site.settle()
        site.host.run("systemctl stop model-voice.socket; reconciler retry voice", timeout=60)
        site.wait_for("voice", "serving", version)
        assert site.predict("voice", {}, {}).headers["Model-Release"].startswith(f"voice@{version}.")
