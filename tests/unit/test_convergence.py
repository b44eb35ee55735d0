"""From any state to any snapshot: what is planned and applied ends with nothing more to plan, and nothing left over."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.core.planner.actions import Action
from reconciler.core.state.status import State
from reconciler.core.units import names
from reconciler.core.units.observed import Unit
from reconciler.settings.model import DeploySettings, Settings
from tests.fakes.systemd import Behaviour
from tests.unit.conftest import OPEN, World, in_memory

NAMES = ("a", "b-c", "b")
selections = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 3), max_size=3)
STEPS = ("fetch", "build", "verify", "server", "socket")
HOSTS = {
    "plain": {"soak": 0, "keep_releases": 0, "removal_grace": 0},
    "soak": {"soak": 100, "keep_releases": 1, "removal_grace": 300},
    "recreate": {"soak": 100, "keep_releases": 0, "removal_grace": 0, "strategy": "recreate"},
    "replicas": {"soak": 100, "keep_releases": 2, "removal_grace": 0, "replicas": 3},
    "idle": {"soak": 100, "keep_releases": 1, "removal_grace": 0, "idle_timeout": 60},
}
hosts = st.sampled_from(sorted(HOSTS))


class KilledError(BaseException):
    """The reconciler died here."""


operations = st.one_of(
    st.tuples(st.just("select"), selections),
    st.tuples(st.just("pass"), st.integers(1, 4)),
    st.tuples(st.just("settle"), st.just(0)),
    st.tuples(st.just("fail"), st.tuples(st.sampled_from(NAMES), st.sampled_from(STEPS))),
    st.tuples(st.just("mend"), st.just(0)),
    st.tuples(st.just("kill"), st.integers(1, 6)),
    st.tuples(st.just("reboot"), st.just(0)),
    st.tuples(st.just("wait"), st.floats(0, 700)),
    st.tuples(st.just("delete"), st.integers(0, 50)),
    st.tuples(st.just("edit"), st.integers(0, 50)),
    st.tuples(st.just("forget"), st.integers(0, 50)),
    st.tuples(st.just("errors"), st.integers(0, 50)),
    st.tuples(st.just("end"), st.integers(0, 50)),
    st.tuples(st.just("crash"), st.tuples(st.integers(0, 50), st.sampled_from(["failed", "inactive", "active"]))),
)


def play(world: World, operation: tuple[str, object]) -> None:
    """Let one thing happen to a host."""
    match operation:
        case ("select", dict(selected)):
            world.select(**selected)
        case ("pass", int(count)):
            for _ in range(count):
                world.reconciler.one_pass()
        case ("settle", _):
            world.systemd.settle()
        case ("fail", (str(name), str(step))):
            for unit in fallible(world, name, step):
                world.failures[unit] = Behaviour(works=False, status_text="cannot: it is broken; mend it")
        case ("mend", _):
            world.failures.clear()
        case ("kill", int(count)):
            kill_after(world, count)
        case ("reboot", _):
            world.systemd.reboot()
            world.new_reconciler()
        case ("wait", float(seconds)):
            world.now += seconds
        case ("delete" | "edit", int(index)):
            # A unit of which neither the file nor the copy is left carries no mark: it is nobody's that we know.
            if files := sorted(
                path for path in world.etc.glob("*.*") if (world.state / "rendered" / path.name).exists()
            ):
                path = files[index % len(files)]
                damage(path, operation[0])
        case ("forget", int(index)):
            if copies := sorted(one for one in (world.state / "rendered").glob("*") if (world.etc / one.name).exists()):
                copies[index % len(copies)].unlink()
        case ("errors", int(index)):
            if servers := running(world):
                world.systemd.serve(servers[index % len(servers)], 100, 50)
        case ("end", int(index)):
            if servers := running(world):
                world.systemd.crash(servers[index % len(servers)])
        case ("crash", (int(index), str(state))):
            if names_of := sorted(path.name for path in world.etc.glob("*.*") if path.is_file()):
                unit = names_of[index % len(names_of)]
                world.systemd.put(Unit(unit, active=state, sub="exited" if "mlflow" in unit else "running"))


def running(world: World) -> list[str]:
    """The servers that run."""
    units = world.systemd.units()
    return sorted(unit for unit, one in units.items() if names.parse_server(unit) and one.active == "active")


def damage(path: Path, how: str) -> None:
    """Delete or edit a unit file."""
    if how == "delete":
        path.unlink()
    else:
        path.write_text(path.read_text() + "# edited\n")


def fallible(world: World, name: str, step: str) -> list[str]:
    """Units of a deployment that a step may fail as, for the versions that are ever selected."""
    if step == "socket":
        return [names.socket_unit(name)]
    if step == "server":
        files = world.reconciler.observe().files
        return [unit for unit in files if (server := names.parse_server(unit)) and server.name == name]
    kinds = {"fetch": names.fetch_unit, "verify": names.verify_unit}
    if step in kinds:
        return [kinds[step](name, version) for version in (1, 2, 3)]
    return [names.build_unit(f"{version:032x}") for version in (1, 2, 3)]


def kill_after(world: World, count: int) -> None:
    """Have the reconciler die after `count` actions, and start it again."""

    def die(number: int, _action: Action) -> None:
        if number >= count:
            raise KilledError

    world.new_reconciler().runner.after_action = die
    try:
        for _ in range(3):
            world.reconciler.one_pass()
    except KilledError:
        pass
    world.new_reconciler()


histories = given(history=st.lists(operations, max_size=12), final=selections, kind=hosts)


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@histories
def test_any_state_converges_to_any_snapshot(
    history: list[tuple[str, object]], final: dict[str, int], kind: str
) -> None:
    """After whatever happened, once nothing fails any more, the host is as the snapshot says and stays so."""
    converge(history, final, kind)


@pytest.mark.by_hand
@pytest.mark.timeout(1200)
@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@histories
def test_any_state_converges_to_any_snapshot_at_length(
    history: list[tuple[str, object]], final: dict[str, int], kind: str
) -> None:
    """The same for many more histories."""
    converge(history, final, kind)


def settings_of(kind: str) -> Settings:
    """Settings of one kind of host."""
    return Settings(policy=OPEN, deploy=DeploySettings(**HOSTS[kind]))  # type: ignore[arg-type]  # validated by pydantic


def forgive(world: World) -> None:
    """Have a person say retry, of everything."""
    ledger = world.reconciler.ledger
    for name, record in ledger.ledger.records.items():
        ledger.write(ledger.ledger.with_record(name, record.forgive()))
        world.reconciler.notes.memory = world.reconciler.notes.memory.forgive(name)


def converge(history: list[tuple[str, object]], final: dict[str, int], kind: str) -> None:
    """Play a history, let everything work again, and compare the end with what was selected last."""
    with in_memory() as directory:
        world = World(directory / "host", settings=settings_of(kind))
        for operation in history:
            play(world, operation)
        world.failures.clear()
        world.select(**final)
        forgive(world)
        for _ in range(4):
            world.converge()
            world.now += 1000
        world.converge()
        decided = world.reconciler.decide(world.reconciler.snapshots.read(), world.reconciler.observe())
        assert decided.actions == ()
        world.reconciler.one_pass()
        assert {one.name: (one.state, one.active_version) for one in world.status().values()} == {
            name: (State.SERVING, str(version)) for name, version in final.items()
        }
        if world.settings.deploy.keep_releases == 0:
            assert leftovers(world, final) == set()
        assert enabled_releases(world) == sorted(final)


def enabled_releases(world: World) -> list[str]:
    """The names of the deployments of which a boot would start servers, once for each release."""
    servers = [server for link in world.etc.glob("*.wants/*") if (server := names.parse_server(link.name))]
    return sorted(name for name, _ in {(server.name, server.release) for server in servers})


def leftovers(world: World, final: dict[str, int]) -> set[str]:
    """What belongs to no selected version."""
    kept = {f"mlflow-deploy/model_deploys/{name}/releases/{version}" for name, version in final.items()}
    kept |= {f"mlflow-deploy/environments/{version:032x}" for version in final.values()}
    kept |= {"mlflow-deploy/model_deploys", "mlflow-deploy/environments"}
    directories = {one for one in world.systemd.state_directories if not any(k.startswith(one) for k in kept)}
    units = {unit for unit in world.systemd.units() if names.deployment_of(unit) not in (None, *final)}
    files = {path.name for path in world.etc.rglob("*.*") if names.deployment_of(path.name) not in (None, *final)}
    return directories | units | files
