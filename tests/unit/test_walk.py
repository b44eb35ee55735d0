"""What holds on a host whatever happens to it, after every action, every pass, and at the end of random walks."""

from collections.abc import Collection
from dataclasses import dataclass

import pytest
from structlog.testing import capture_logs

from reconciler.core.planner import actions as act
from reconciler.core.planner.actions import Action
from reconciler.core.state.status import State
from reconciler.core.units import names
from reconciler.core.units.names import Step
from tests.unit.conftest import World, in_memory
from tests.unit.disk import refusing
from tests.unit.walk import NAMES, Walk

LEFT_ALONE = (State.SUSPENDED, State.STALLED)


@dataclass(frozen=True)
class Sight:
    """What clients and a boot would find of one deployment."""

    listens: bool
    accepting: frozenset[str]
    """The releases that accept."""


def sights(world: World) -> dict[str, Sight]:
    """Look at every deployment from outside."""
    units = world.systemd.units()
    up = {unit for unit, one in units.items() if one.is_up}
    accepting = [parsed for unit in up if (parsed := names.parse_server(unit))]
    return {
        name: Sight(names.socket_unit(name) in up, frozenset(one.release for one in accepting if one.name == name))
        for name in NAMES
    }


class Guard:
    """Compares each action with what was there before it."""

    def __init__(self) -> None:
        self._before: dict[str, Sight] = {}
        self._two: set[str] = set()
        """Those of which more than one release accepted after the pass before."""

    def before_pass(self, walk: Walk) -> None:
        """Look at everything before the reconciler does."""
        self._before = sights(walk.world)

    def after_action(self, walk: Walk, action: Action) -> None:
        """Check what must hold even if nothing ever followed the action."""
        record = walk.world.reconciler.ledger.ledger.record(action.deployment)
        # The reconciler's own records: they change nothing on the host, and the first fetch is the first one.
        pinned = isinstance(action, act.PinFiles | act.ShowPin)
        assert pinned or record.suspended is None, f"{action} for a suspended deployment"
        server = names.parse_server(action.unit)
        if server and isinstance(action, act.Start | act.Resume):
            assert record.rejection(server.release) is None, f"{action} of a rejected release"
        if action.deployment:
            enabled = enabled_releases(walk.world, action.deployment)
            assert enabled <= active_releases(walk.world, action.deployment), f"{action}: a boot starts {enabled}"
            before, now = self._before[action.deployment], sights(walk.world)[action.deployment]
            self._before[action.deployment] = now
            if action.deployment in walk.selected:
                self._check_service(walk, action, before, now)

    def _check_service(self, walk: Walk, action: Action, before: Sight, now: Sight) -> None:
        """An address closes only when nobody answers there; the last one who answers ends only for a successor."""
        record = walk.world.reconciler.ledger.ledger.record(action.deployment)
        accepted = {release for release in before.accepting if record.rejection(release) is None}
        if before.listens and not now.listens:
            assert not accepted, f"{action} closed the address of {accepted}"
        if before.listens and not now.accepting and walk.kind != "recreate":
            assert not accepted & active_releases(walk.world, action.deployment), f"{action} left nobody to answer"

    def after_pass(self, walk: Walk) -> None:
        """Check what was told, and that two releases accept during a rollout only, or for one pass after it."""
        before, self._two = self._two, set()
        seen = sights(walk.world)
        for name, one in walk.world.status().items():
            now = seen[name]
            if one.state not in (*LEFT_ALONE, State.ROLLING_OUT) and len(now.accepting) > 1:
                # A replica that is tried again later holds up a rollout in which the others accept.
                # So does an action that failed, and waits for its next try: docs/security.md, "What is left".
                waits = one.reason == "action-failed"
                replicas = "replicas" in walk.world.settings.deploy.model_fields_set
                if not waits and not (one.state is State.DEGRADED and replicas):
                    self._two.add(name)
                assert name not in before & self._two, f"{name} is {one.state} and {set(now.accepting)} accept"
            if one.state is State.SERVING:
                assert one.active_version == one.desired_version
                assert now.accepting, f"{name} is serving and nobody accepts"


def enabled_releases(world: World, name: str) -> set[str]:
    """The releases that a boot would start."""
    found = (names.parse_server(link.name) for link in world.etc.glob(f"*.wants/model-{name}@*"))
    return {parsed.release for parsed in found if parsed}


def active_releases(world: World, name: str) -> set[str]:
    """The release that the socket's file names, wherever it is left."""
    socket = names.socket_unit(name)
    texts = [path.read_text() for path in (world.state / "rendered" / socket, world.etc / socket) if path.exists()]
    services = (
        {line.removeprefix("Service=") for line in texts[0].splitlines() if line[:8] == "Service="} if texts else ()
    )
    return {parsed.release for service in services if (parsed := names.parse_server(service))}


def check_the_end(walk: Walk) -> None:
    """The registry's last word has come true, as far as releases work; nothing is left over, nothing left to do."""
    reconciler, told = walk.world.reconciler, walk.world.status()
    assert reconciler.decide(reconciler.snapshots.read(), reconciler.observe()).actions == ()
    assert set(told) == set(walk.selected)
    for name in NAMES:
        if name in walk.selected:
            check_served(walk, name)
        else:
            check_gone(walk.world, name)
    files = {path.name for path in walk.world.etc.iterdir() if path.is_file()}
    copies = {path.name for path in (walk.world.state / "rendered").glob("*")}
    assert files <= copies, files - copies
    for unit in copies - files:  # restored before it is used again: a step that was done, a release that is only kept
        server = names.parse_server(unit)
        assert server or names.parse_step(unit) or names.parse_build(unit), f"{unit} was not restored"
        is_good = server is not None and server.release == reconciler.ledger.ledger.record(server.name).good
        assert not is_good, f"{unit} was not restored"
    check_directories(walk.world, walk.selected)


def check_served(walk: Walk, name: str) -> None:
    """The wanted version serves; if it is rejected the good one does; if there is none, nothing runs or listens."""
    one, record = walk.world.status()[name], walk.world.reconciler.ledger.ledger.record(name)
    wanted, now = walk.selected[name], sights(walk.world)[name]
    assert one.desired_version == str(wanted)
    rejected = [release.release for release in record.rejected if release.release.version == wanted]
    if one.state in (State.SERVING, State.IDLE):
        assert one.active_version == str(wanted)
    else:
        assert rejected, f"{name} is {one.state} {one.reason}: {one.message}"
        assert one.state is (State.DEGRADED if record.good else State.FAILED)
    good = {record.good} - {None}
    assert enabled_releases(walk.world, name) == good
    started = [server for unit in walk.running() if (server := names.parse_server(unit))]
    running = {server.release for server in started if server.name == name}
    if record.good is None:
        assert not now.listens
        assert not running
    else:
        assert now.listens
        assert one.active_version == str(record.good.version)
        assert running == now.accepting
        assert now.accepting == good or (walk.kind == "idle" and not running)


def check_gone(world: World, name: str) -> None:
    """Nothing is left of a deployment but what failed here."""
    places = (world.etc, world.state / "rendered", *world.etc.glob("*.wants"))
    left = {path.name for place in places if place.is_dir() for path in place.iterdir()}
    assert [one for one in left if names.deployment_of(one.removesuffix(".d")) == name] == []
    assert [unit for unit in world.systemd.units() if names.deployment_of(unit) == name] == []
    record = world.reconciler.ledger.ledger.record(name)
    assert record == record.forget_deployment()
    assert name not in world.reconciler.ledger.ledger.prune_confirmed


def check_a_boot(walk: Walk) -> None:
    """Without the reconciler, a boot brings up what is good, and nothing else."""
    walk.world.systemd.reboot()
    for name in NAMES:
        good = walk.world.reconciler.ledger.ledger.record(name).good
        assert sights(walk.world)[name] == Sight(good is not None, frozenset([good] if good else []))


def check_directories(world: World, selected: Collection[str]) -> None:
    """Only what a kept or wanted release needs has a directory."""
    facts = {unit: file.facts for unit, file in world.reconciler.observe().files.items()}
    servers = {unit: server for unit in facts if (server := names.parse_server(unit))}
    fetches = {unit: parsed for unit in facts if (parsed := names.parse_step(unit)) and parsed.step is Step.FETCH}
    for name, release, _ in servers.values():
        record = world.reconciler.ledger.ledger.record(name)
        before = record.before[: world.settings.deploy.keep_releases]
        assert release in (record.good, *before, *active_releases(world, name)), f"{release} of {name} is left over"
    needed = {(server.name, server.release.version) for server in servers.values()}
    needed |= {(name, int(world.status()[name].desired_version or 0)) for name in selected}
    assert {parsed[1:] for parsed in fetches.values()} <= needed
    found = {one for one in world.systemd.state_directories if one.count("/") > 1}
    places = {f"mlflow-deploy/model_deploys/{name}/releases/{version}" for _, name, version in fetches.values()}
    places |= {
        f"mlflow-deploy/model_deploys/{name}{end}" for _, name, _ in fetches.values() for end in ("", "/releases")
    }
    places |= {f"mlflow-deploy/environments/{names.parse_build(unit)}" for unit in facts if names.parse_build(unit)}
    assert found <= places
    environments = {file.environment for unit, file in facts.items() if unit in servers}
    environments |= {f"{version:032x}" for _, version in needed}
    assert {names.parse_build(unit) for unit in facts} - {None} <= environments


def walked(seed: int, steps: int) -> None:
    """Walk, calm down, and check; what fails tells how it came to that."""
    guard = Guard()
    with in_memory() as directory, capture_logs():
        walk = Walk(seed, directory / "host", guard.before_pass, guard.after_action, guard.after_pass)
        try:
            with refusing(walk.refuses):
                for _ in range(steps):
                    walk.step()
                walk.calm_down()
            check_the_end(walk)
            check_a_boot(walk)
        except Exception as error:
            story = "\n".join(f"{number:4} {one}" for number, one in enumerate(walk.story))
            error.add_note(f"seed {seed}, host {walk.kind!r}, {steps} steps:\n{story}")
            raise


@pytest.mark.parametrize("seed", range(16))
def test_whatever_happens_the_host_ends_as_the_registry_says(seed: int) -> None:
    """A short walk."""
    walked(seed, 40)


@pytest.mark.by_hand
@pytest.mark.timeout(1200)
def test_long_walks_end_as_the_registry_says() -> None:
    """Many, and longer."""
    for seed in range(1000, 1080):
        walked(seed, 80)
