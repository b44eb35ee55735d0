"""Whole passes over the fake systemd: what is deployed, replaced, removed, and what failures do."""

import os
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from reconciler.core.state.release import Parameters, Release
from reconciler.core.state.status import State, Status
from reconciler.core.units import addresses, names
from reconciler.core.units.addresses import choose_port
from reconciler.core.units.observed import Unit
from reconciler.daemon.desired import defaults
from reconciler.ports.systemd import SystemdBusyError, SystemdError
from reconciler.settings.model import DeploySettings, ReconcileSettings, Settings
from tests.fakes.systemd import Behaviour
from tests.unit.conftest import OPEN, World
from tests.unit.rollouts import BROKEN, enabled

URL = addresses.url(choose_port("demo", 20000, 20999, ()) or 0)


def server_of(name: str, version: int) -> str:
    """The server unit of a version that `World.select` selects."""
    return names.server_unit(
        name, Release(name, version, f"models:/m-{name}{version}", defaults(Settings()).parameters).id
    )


def server(world: World, name: str) -> str:
    """The server unit of the active release."""
    text = (world.etc / names.socket_unit(name)).read_text()
    return next(line.removeprefix("Service=") for line in text.splitlines() if line.startswith("Service="))


def running_servers(world: World) -> list[str]:
    """Names of the servers that run."""
    return [
        unit for unit, state in world.systemd.units().items() if names.parse_server(unit) and state.active == "active"
    ]


def port(world: World, name: str) -> int:
    """The port of a deployment."""
    return int(str(world.status()[name].url).rpartition(":")[2])


def test_a_selected_model_is_served_and_enabled(world: World) -> None:
    """From nothing to a running, enabled release behind a listening socket."""
    world.select(demo=3)
    world.converge()
    status = world.status()["demo"]
    assert (status.state, status.active_version) == (State.SERVING, "3")
    assert running_servers(world) == [server(world, "demo")]
    assert enabled(world) == {server(world, "demo"), "model-demo.socket"}
    assert status.url is not None


def test_a_new_version_replaces_the_old_one_and_its_directories(world: World) -> None:
    """After the update one release is left: its units, its files, its environment."""
    world.select(demo=1)
    world.converge()
    first, url = server(world, "demo"), world.status()["demo"].url
    world.select(demo=2)
    world.converge()
    assert running_servers(world) == [server(world, "demo")] != [first]
    assert enabled(world) == {server(world, "demo"), "model-demo.socket"}
    assert world.status()["demo"].url == url
    left = {path for path in world.systemd.state_directories if path.endswith(("/1", f"{1:032x}"))}
    assert not left
    assert not (world.etc / first).exists()


def test_the_old_version_serves_until_the_new_one_is_ready(world: World) -> None:
    """While the candidate loads, the socket still names the release that serves."""
    world.select(demo=1)
    world.converge()
    first = server(world, "demo")
    world.select(demo=2)
    seen = []
    for _ in range(30):
        world.reconciler.one_pass()
        seen.append((server(world, "demo"), tuple(running_servers(world))))
        assert server(world, "demo") in running_servers(world)
        world.systemd.settle()
    assert seen[0][0] == first != seen[-1][0]


def test_a_demoted_model_leaves_nothing(world: World) -> None:
    """The listing before and after differs in nothing but what the reconciler keeps for itself."""
    world.select(other=1)
    world.converge()
    before = world.listing()
    world.select(other=1, demo=3)
    world.converge()
    world.select(other=1)
    world.converge()
    assert world.listing() == before
    assert "demo" not in world.status()


def test_without_a_snapshot_nothing_is_touched(world: World) -> None:
    """A missing or broken snapshot is not an empty one."""
    world.select(demo=1)
    world.converge()
    before = world.listing()
    (world.directory / "registry.json").unlink()
    world.converge()
    assert world.status()["demo"].state is State.SERVING
    (world.state / "snapshot.json").unlink()
    world.new_reconciler()
    world.converge()
    assert world.listing() | {"state/snapshot.json", "registry.json"} == before | {
        "state/snapshot.json",
        "registry.json",
    }
    assert world.status()["demo"].reason == "no-snapshot"


@pytest.mark.parametrize(
    "document",
    [
        {"schema": 2, "registry": "http://r", "read_at": "2026-01-01T00:00:00Z", "models": []},
        {"schema": 1, "registry": "http://r", "models": []},
        {"schema": 1, "registry": "http://r", "read_at": "2026-01-01T00:00:00Z", "models": [{"name": "../x"}]},
        {"schema": 1, "registry": "http://r", "read_at": "2026-01-01T00:00:00Z", "models": [], "more": 1},
        [],
        None,
    ],
    ids=["another schema", "a missing field", "a hostile name", "an unknown field", "a list", "null"],
)
def test_an_unacceptable_snapshot_changes_nothing(world: World, document: object) -> None:
    """The last accepted one stays in force."""
    world.select(demo=1)
    world.converge()
    before = world.listing()
    world.write_snapshot(document)
    world.converge()
    assert world.listing() == before
    assert world.status()["demo"].state is State.SERVING


@pytest.mark.parametrize(
    ("agent", "told"),
    [
        ("read 3 models at http://r, 1 selected", "cannot use the agent's snapshot: "),
        ("cannot read the registry at http://r: refused (try 7)", "cannot read the registry at http://r: refused"),
        ("", "cannot use the agent's snapshot: "),
    ],
)
def test_the_status_says_what_is_wrong_with_the_snapshot(world: World, agent: str, told: str) -> None:
    """The agent's own word counts when it knows of a problem, what is wrong with its file otherwise."""
    world.select(demo=1)
    world.reconciler.publisher.agent_says = lambda: agent
    world.reconciler.one_pass()
    world.write_snapshot({"schema": 2})
    world.reconciler.one_pass()
    document = Status.model_validate_json((world.directory / "status.json").read_bytes())
    assert not document.registry.reachable
    assert document.registry.message.startswith(told)


@pytest.mark.parametrize(
    ("agent", "told"),
    [
        ("cannot read the registry at http://r: refused", "cannot read the registry at http://r: refused"),
        ("stopped", "the snapshot was not confirmed lately; mlflow-registry-agent says 'stopped', see systemctl "),
        ("", "the snapshot was not confirmed lately; mlflow-registry-agent does not run, see systemctl "),
    ],
)
def test_a_snapshot_that_grows_old_is_not_called_fresh(world: World, agent: str, told: str) -> None:
    """It stays in force, and the status says where to look."""
    world.select(demo=1)
    world.reconciler.publisher.agent_says = lambda: agent
    world.now = (world.directory / "registry.json").stat().st_mtime + 3600
    world.reconciler.one_pass()
    document = Status.model_validate_json((world.directory / "status.json").read_bytes())
    assert not document.registry.reachable
    assert document.registry.message.startswith(told)
    assert [one.name for one in document.deployments] == ["demo"]


@pytest.mark.parametrize("step", ["fetch", "build", "verify", "server"])
def test_a_failing_step_is_a_reason_and_others_proceed(world: World, step: str) -> None:
    """The failing deployment says why; the other one serves."""
    world.select(good=7)
    world.converge()
    unit = {
        "fetch": names.fetch_unit("bad", 9),
        "build": names.build_unit(f"{9:032x}"),
        "verify": names.verify_unit("bad", 9),
        "server": server_of("bad", 9),
    }[step]
    world.failures[unit] = BROKEN
    world.select(bad=9, good=8)
    world.converge()
    status = world.status()
    assert (status["good"].state, status["good"].active_version) == (State.SERVING, "8")
    assert status["bad"].state is State.FAILED
    assert status["bad"].message == BROKEN.status_text


def test_a_failed_step_is_tried_again_later_and_later(world: World) -> None:
    """Attempts are spread: 10 s, 20 s, 40 s… and a success ends it."""
    unit = names.fetch_unit("demo", 1)
    world.failures[unit] = BROKEN
    world.select(demo=1)
    world.converge()
    waits = []
    for _ in range(4):
        deadline = world.reconciler.next_deadline()
        assert deadline is not None
        waits.append(round(deadline - world.now))
        world.now = deadline + 0.001
        world.converge()
    assert waits == [10, 20, 40, 80]
    del world.failures[unit]
    world.now += 1000
    world.converge()
    assert world.status()["demo"].state is State.SERVING
    assert world.reconciler.notes.memory.next_deadline(world.now) is None


def test_a_bad_update_leaves_the_old_version_serving(world: World) -> None:
    """`degraded`: an older release serves and the reason is told."""
    world.select(demo=1)
    world.converge()
    first = server(world, "demo")
    world.failures[server_of("demo", 2)] = BROKEN
    world.select(demo=2)
    world.converge()
    status = world.status()["demo"]
    assert (status.state, status.desired_version, status.active_version) == (State.DEGRADED, "2", "1")
    assert running_servers(world) == [first]


@pytest.mark.parametrize(
    "lie",
    [
        Behaviour(works=False, status_text="cannot listen: 0 of 2 sockets"),
        Behaviour(works=False, status_text="cannot serve these files: the model's directory is not as it was"),
        Behaviour(works=False, exit_status=226),
        Behaviour(works=False, exit_status=243),
    ],
)
def test_a_candidate_that_says_the_host_failed_it_is_tried_three_times(world: World, lie: Behaviour) -> None:
    """Whatever it says or exits with, the old version and its socket are not touched for it."""
    world.select(demo=1)
    world.converge()
    first, socket = server(world, "demo"), "model-demo.socket"
    before = world.systemd.invocation(socket)
    since = world.systemd.units()[first].since
    world.failures[server_of("demo", 2)] = lie
    world.select(demo=2)
    for rejections in (0, 0, 1, 1):
        world.converge()
        assert (world.status()["demo"].state, running_servers(world)) == (State.DEGRADED, [first])
        assert len(world.reconciler.ledger.ledger.record("demo").rejected) == rejections
        world.now += 1000
    assert world.systemd.invocation(socket) == before
    assert world.systemd.units()[first].since == since


def test_a_candidate_that_systemd_says_the_host_failed_is_tried_for_ever(world: World) -> None:
    """The command before it, which is none of the model's, ended with systemd's own number."""
    world.select(demo=1)
    world.converge()
    world.failures[server_of("demo", 2)] = Behaviour(works=False, exit_status=238, set_up=False)
    world.select(demo=2)
    for _ in range(6):
        world.converge()
        world.now += 1000
    assert world.reconciler.ledger.ledger.record("demo").rejected == ()
    world.failures.clear()
    world.converge()
    assert world.status()["demo"].active_version == "2"


def test_a_port_that_somebody_holds_is_left_to_them(world: World) -> None:
    """The socket takes other ports of the range, one after the other, until one can be bound."""
    world.select(demo=1)
    world.converge()
    first = port(world, "demo")
    world.select()
    world.converge()
    world.systemd.taken_ports = {first, first + 1}
    world.select(demo=1)
    world.converge()
    assert world.status()["demo"].state is State.SERVING
    assert port(world, "demo") not in world.systemd.taken_ports


def test_a_range_without_a_free_port_is_a_reason(world: World) -> None:
    """Nobody's port is taken from them."""
    world.reconciler.settings = Settings(policy=OPEN, deploy=DeploySettings(port_range=(20000, 20001)))
    world.systemd.taken_ports = {20000}
    world.select(one=1, two=1)
    world.converge()
    states = {name: (one.state, one.reason) for name, one in world.status().items()}
    assert sorted(states.values()) == [(State.FAILED, "no-free-port"), (State.SERVING, "")]


def test_somebody_elses_unit_is_never_touched(world: World) -> None:
    """A unit with our name and not our mark stays as it is, and the deployment says so."""
    foreign = world.etc / "model-demo.socket"
    foreign.write_text("[Socket]\nListenStream=1234\n")
    world.select(demo=1)
    world.converge()
    status = world.status()["demo"]
    assert (status.state, status.reason) == (State.FAILED, "unit-not-ours")
    world.select()
    world.converge()
    assert foreign.read_text() == "[Socket]\nListenStream=1234\n"


@pytest.mark.parametrize("damage", ["edited", "deleted"])
def test_a_changed_unit_is_restored(world: World, damage: str) -> None:
    """What was rendered comes back to the byte."""
    world.select(demo=1)
    world.converge()
    path = world.etc / server(world, "demo")
    was = path.read_text()
    if damage == "edited":
        path.write_text(was.replace("KillMode=mixed", "KillMode=none"))
    else:
        path.unlink()
    world.converge()
    assert path.read_text() == was


def test_two_models_share_an_environment_until_neither_needs_it(world: World) -> None:
    """The environment is built once and goes with its last user."""
    world.environment = lambda _name, _version: "e" * 32
    world.select(one=1, two=1)
    world.converge()
    assert {one.state for one in world.status().values()} == {State.SERVING}
    world.select(two=1)
    world.converge()
    assert (world.etc / names.build_unit("e" * 32)).exists()
    world.select()
    world.converge()
    assert not (world.etc / names.build_unit("e" * 32)).exists()
    assert not [one for one in world.systemd.state_directories if one.endswith("e" * 32)]


def test_a_reboot_brings_the_active_release_back_without_the_reconciler(world: World) -> None:
    """Enablement alone is enough, and afterwards there is nothing to do."""
    world.select(demo=1)
    world.converge()
    active = server(world, "demo")
    world.systemd.reboot()
    assert running_servers(world) == [active]
    world.new_reconciler()
    world.converge()
    assert running_servers(world) == [active]


def test_a_stopped_server_is_started_again(world: World) -> None:
    """A plain stop is drift."""
    world.select(demo=1)
    world.converge()
    world.systemd.stop(server(world, "demo"))
    world.systemd.settle()
    world.converge()
    assert running_servers(world) == [server(world, "demo")]


def test_a_stopped_socket_listens_again(world: World) -> None:
    """systemd refuses to start a socket whose service runs, so the service makes way first."""
    world.select(demo=1)
    world.converge()
    world.systemd.stop("model-demo.socket")
    world.systemd.settle()
    world.converge()
    assert world.systemd.units()["model-demo.socket"].active == "active"
    assert running_servers(world) == [server(world, "demo")]


def test_other_parameters_are_another_release_of_the_same_version(world: World) -> None:
    """A tag that the policy allows rolls the release; its files stay."""
    world.select(demo=1)
    world.converge()
    first = server(world, "demo")
    model = {
        "name": "demo",
        "version": 1,
        "source": "models:/m-demo1",
        "selected_by": "stage:Production",
        "settings": {"memory_max": "1G"},
    }
    world.write_snapshot({"schema": 1, "registry": "r", "read_at": "2026-01-01T00:00:00Z", "models": [model]})
    world.converge()
    assert running_servers(world) == [server(world, "demo")] != [first]
    assert "MemoryMax=1073741824" in (world.etc / server(world, "demo")).read_text()
    assert any(one.endswith("releases/1") for one in world.systemd.state_directories)


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("memory_max", "lots", "deploy.memory_max"),
        ("runtime", "compose", "policy"),
        ("color", "red", "no such setting"),
    ],
)
def test_a_tag_that_cannot_be_used_is_the_deployments_reason(world: World, key: str, value: str, word: str) -> None:
    """Nothing is guessed, and what serves goes on serving."""
    if key == "runtime":
        key, value = "max_body", "1G"
    model = {"name": "demo", "version": 1, "source": "s", "selected_by": "stage:Production", "settings": {key: value}}
    world.write_snapshot({"schema": 1, "registry": "r", "read_at": "2026-01-01T00:00:00Z", "models": [model]})
    world.converge()
    status = world.status()["demo"]
    assert (status.state, status.reason) == (State.FAILED, "refused")
    assert word in status.message


def test_each_change_is_told_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The journal has one line a change, in the order in which things happened."""
    lines: list[str] = []
    monkeypatch.setattr("reconciler.daemon.publish.log", structlog.wrap_logger(None, [_keep(lines)]))
    world.select(demo=1)
    world.converge()
    world.select(demo=2)
    world.converge()
    world.select()
    world.converge()
    told = [line for line in lines if line.startswith(("demo is", "version")) and "preparing" not in line]
    assert told == [
        "version 1 of demo is wanted here",
        "demo is rolling-out: version 1 is loading",
        f"version 1 of demo is serving at {URL}",
        "version 2 of demo is wanted here",
        "demo is rolling-out: version 2 is loading",
        "demo is rolling-out: version 2 takes over",
        f"version 2 of demo is serving at {URL}",
        "demo is removing: the registry no longer selects it",
        "demo is removed",
    ]


def test_actions_are_told_to_who_wants_them(world: World) -> None:
    """Twenty lines for one deployment would hide the five that people look for."""
    with capture_logs() as usual:
        world.select(demo=1)
        world.converge()
    assert "debug" not in {line["log_level"] for line in usual}
    assert all("MESSAGE_ID" in line for line in usual if "MODEL" in line)
    steps_too = {"reconcile": ReconcileSettings(log_actions=True)}
    world.reconciler.settings = world.settings.model_copy(update=steps_too)
    with capture_logs() as all_of_it:
        world.select(demo=2)
        world.converge()
    steps = [line for line in all_of_it if line["log_level"] == "debug"]
    assert (steps[0]["event"], steps[0]["MODEL"]) == ("write mlflow-fetch@demo.2.service", "demo")
    assert len(steps) > len(all_of_it) / 2


def _keep(lines: list[str]) -> structlog.typing.Processor:
    """Keep the sentences instead of writing them."""

    def keep(_logger: object, _method: str, event: structlog.typing.EventDict) -> str:
        lines.append(event["event"])
        raise structlog.DropEvent

    return keep


def test_the_serving_version_outlives_any_trouble_of_the_next_one(world: World) -> None:
    """While an update is given up, a hiccup of the good release must not take it or its socket down."""
    world.select(demo=1)
    world.converge()
    good = server(world, "demo")
    world.failures[server_of("demo", 2)] = BROKEN
    world.select(demo=2)
    world.converge()
    for hiccup in ("activating", "inactive", "failed"):
        world.systemd.put(Unit(good, active=hiccup, sub="auto-restart"))
        for _ in range(3):
            world.converge()
            world.now += 700
        assert running_servers(world) == [good]
        assert world.systemd.units()["model-demo.socket"].active == "active"
    assert world.status()["demo"].state is State.DEGRADED


def test_drift_of_the_serving_version_is_mended_while_the_next_one_is_given_up(world: World) -> None:
    """A deleted unit and a stopped socket come back."""
    world.select(demo=1)
    world.converge()
    good = server(world, "demo")
    world.failures[server_of("demo", 2)] = BROKEN
    world.select(demo=2)
    world.converge()
    (world.etc / good).unlink()
    world.systemd.stop("model-demo.socket")
    world.systemd.settle()
    world.converge()
    assert (world.etc / good).exists()
    assert world.systemd.units()["model-demo.socket"].active == "active"
    assert running_servers(world) == [good]


def test_a_removal_that_takes_long_is_waited_for(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is done again and again meanwhile: systemd says when it is over."""
    world.select(demo=1)
    world.converge()

    def busy(unit: str) -> None:
        raise SystemdBusyError(f"systemd is still removing the directories of {unit}")

    reloads = []
    monkeypatch.setattr(world.systemd, "clean", busy)
    world.select()
    world.converge()
    monkeypatch.setattr(world.systemd, "reload", lambda: reloads.append(world.now))
    assert [world.reconciler.one_pass() for _ in range(3)] == [False] * 3
    assert reloads == []
    assert world.status()["demo"].state is State.REMOVING
    monkeypatch.undo()
    world.converge()
    assert "demo" not in world.status()


def test_a_directory_that_could_not_be_removed_is_removed_later(world: World) -> None:
    """Somebody made it impossible, or it was an accident of the disk: it is said, and tried again."""
    world.select(demo=1)
    world.converge()
    directory = "mlflow-deploy/model_deploys/demo"
    world.systemd.held.add(directory)
    world.select()
    world.converge()
    assert "cannot clean" in world.status()["demo"].message
    world.systemd.held.clear()
    world.now += 700
    world.converge()
    assert "demo" not in world.status()
    assert directory not in world.systemd.state_directories


def test_a_failing_shared_action_holds_up_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that cannot be removed is tried again; other models roll out meanwhile."""
    world.select(a=1)
    world.converge()

    def refuse(unit: str) -> None:
        raise SystemdError(f"cannot clean {unit}: it is a test")

    monkeypatch.setattr(world.systemd, "clean", refuse)
    world.select(b=2)
    for _ in range(3):
        world.converge()
        world.now += 700
    assert world.status()["b"].state is State.SERVING
    monkeypatch.undo()
    world.now += 700
    world.converge()
    assert not [one for one in world.systemd.state_directories if one.endswith(f"{1:032x}")]


def test_a_failed_verification_has_everything_looked_over_again(world: World) -> None:
    """A deleted release or environment is made anew: fetch and build are asked again, not only verify."""
    world.failures[names.verify_unit("demo", 1)] = BROKEN
    world.select(demo=1)
    world.converge()
    first = world.systemd.invocation(names.fetch_unit("demo", 1))
    world.failures.clear()
    world.now += 700
    world.converge()
    assert world.status()["demo"].state is State.SERVING
    assert world.systemd.invocation(names.fetch_unit("demo", 1)) != first


def test_a_version_registered_anew_under_its_old_number_does_not_overwrite_what_serves(world: World) -> None:
    """Both would have one directory; taken out of Production and in again, the new one is fetched."""
    world.select(demo=1)
    world.converge()
    first, fetched = server(world, "demo"), world.systemd.invocation(names.fetch_unit("demo", 1))
    model = {"name": "demo", "version": 1, "source": "models:/m-other", "selected_by": "stage:Production"}
    anew = {"schema": 1, "registry": "http://r", "read_at": "2026-01-01T00:00:00Z", "models": [model]}
    world.write_snapshot(anew)
    world.converge()
    status = world.status()["demo"]
    assert (status.state, status.active_version, status.reason) == (State.DEGRADED, "1", "number-used-again")
    assert running_servers(world) == [server(world, "demo")] == [first]
    assert world.systemd.invocation(names.fetch_unit("demo", 1)) == fetched
    assert "reconciler rollout demo --replace-files" in (status.message or "")
    world.select()
    world.converge()
    world.write_snapshot(anew)
    world.converge()
    assert running_servers(world) == [server(world, "demo")] != [first]
    assert "m-other" in (world.etc / names.fetch_unit("demo", 1)).read_text()


def test_versions_that_never_served_do_not_pile_up(world: World) -> None:
    """While nothing new serves, only the wanted and the serving version keep their directories."""
    world.select(demo=1)
    world.converge()
    for version in (2, 3, 4):
        world.failures[names.verify_unit("demo", version)] = BROKEN
        world.select(demo=version)
        world.converge()
    kept = {one for one in world.systemd.state_directories if "/demo/releases/" in one}
    assert {one.rpartition("/")[2] for one in kept} == {"1", "4"}


@pytest.mark.parametrize("touched", [1e12, -5.0, 5000.0], ids=["far", "before 1970", "soon"])
def test_an_odd_time_stamp_of_the_snapshot_is_not_taken_for_fresh(world: World, touched: float) -> None:
    """Whoever owns the file may set any; it must neither end the daemon nor look fresh for ever."""
    world.select(demo=1)
    os.utime(world.directory / "registry.json", (touched, touched))
    world.converge()
    document = Status.model_validate_json((world.directory / "status.json").read_bytes())
    assert not document.registry.reachable
    assert document.deployments[0].state is State.SERVING


def test_a_thousand_other_versions_in_production_fit_into_a_sentence(world: World) -> None:
    """Nobody archives: the highest serves, some of the others are named."""
    model = {
        **{"name": "demo", "version": 1001, "source": "s", "selected_by": "stage:Production"},
        "also_matching": list(range(1, 1001)),
    }
    world.write_snapshot({"schema": 1, "registry": "r", "read_at": "2026-01-01T00:00:00Z", "models": [model]})
    world.converge()
    assert world.status()["demo"].message.endswith("1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 990 more; the highest serves")


def test_a_snapshot_that_cannot_be_kept_is_gone_by_all_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk must not stop the removal that would free it."""
    world.select(demo=1)
    world.converge()

    def full(_path: Path, _content: bytes, _mode: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("reconciler.files.snapshot_file.replace_file", full)
    world.select()
    world.converge()
    assert "demo" not in world.status()


def test_a_release_keeps_its_name_when_the_product_changes() -> None:
    """The digest of the defaults is fixed: another one would roll every model on every host."""
    assert Release("demo", 3, "models:/m-1", Parameters()).id == "3.439c12b7"
    assert Release("demo", 3, "models:/m-1", Parameters(memory_max=1024)).id == "3.b36fe467"
