"""Rollouts over the fake systemd: soak, rollback, pre-emption, strategies, replicas, scale to zero, what is kept."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.core.planner.actions import Action
from reconciler.core.state.ledger import Rejected
from reconciler.core.state.reason import Reason
from reconciler.core.state.status import State
from reconciler.core.units import names
from tests.fakes.systemd import Behaviour
from tests.unit.conftest import World
from tests.unit.rollouts import BROKEN, SOAK, active, active_release, deploy, enabled, rolled_out, servers, story


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A host whose releases have a soak, and which keeps one release to go back to."""
    return World(tmp_path / "host", settings=deploy())


def test_the_first_release_has_no_soak(world: World) -> None:
    """There is nothing to go back to."""
    world.select(demo=1)
    world.converge()
    assert story(world) == (State.SERVING, "1", "1", "")


def test_the_old_release_stands_by_until_the_new_one_has_proved_itself(world: World) -> None:
    """Loaded, not accepting, not started by a boot; then it is stopped and its files are kept."""
    rolled_out(world, 1)
    world.select(demo=2)
    world.converge()
    assert story(world) == (State.ROLLING_OUT, "2", "2", "soaking")
    assert servers(world) == {"1.1": "stands by", "2.1": "serves"}
    assert enabled(world) == {active(world), "model-demo.socket"}
    deadline = world.reconciler.next_deadline()
    assert deadline == world.now + SOAK
    world.now = deadline
    world.converge()
    assert story(world) == (State.SERVING, "2", "2", "")
    assert servers(world) == {"2.1": "serves"}


@pytest.mark.parametrize(
    ("trouble", "reason"), [("crash", "failed-in-soak"), ("errors", "errors-in-soak"), ("fails", "failed-in-soak")]
)
def test_a_release_that_fails_in_its_soak_is_undone_at_once(world: World, trouble: str, reason: str) -> None:
    """The old one resumes without being started, and the new one is not tried again."""
    rolled_out(world, 1)
    old = world.systemd.units()[active(world)].since
    world.select(demo=2)
    world.converge()
    bad = active(world)
    if trouble == "crash":
        world.systemd.crash(bad, "oom-kill")
    elif trouble == "errors":
        world.systemd.serve(bad, 20, 3)
    else:
        world.failures[bad] = BROKEN
        world.systemd.crash(bad)
        world.systemd.settle()
    world.reconciler.one_pass()
    world.reconciler.one_pass()
    assert servers(world).get("1.1") == "serves"
    world.converge()
    assert story(world) == (State.DEGRADED, "2", "1", reason)
    assert servers(world) == {"1.1": "serves"}
    assert world.systemd.units()[active(world)].since == old
    assert enabled(world) == {active(world), "model-demo.socket"}
    world.failures.clear()
    world.now += 10_000
    world.converge()
    assert story(world) == (State.DEGRADED, "2", "1", reason)


def test_few_errors_do_not_undo_a_release(world: World) -> None:
    """Neither a small share nor a small number says much."""
    rolled_out(world, 1)
    world.select(demo=2)
    world.converge()
    for requests, errors in ((19, 19), (1000, 100)):
        world.systemd.serve(active(world), requests, errors)
        world.converge()
        assert story(world)[3] == "soaking"


@pytest.mark.parametrize("why", ["start-failed", "errors-in-soak"])
def test_a_rejection_outlives_the_reconciler_and_a_reboot(world: World, why: str) -> None:
    """What failed once is not tried by its successor."""
    rolled_out(world, 1)
    world.select(demo=2)
    if why == "start-failed":
        _fail_server(world, 2)
        world.converge()
    else:
        world.converge()
        world.systemd.serve(active(world), 100, 50)
        world.converge()
    world.failures.clear()
    for restart in (world.new_reconciler, world.systemd.reboot, world.new_reconciler):
        restart()
        world.converge()
        assert story(world) == (State.DEGRADED, "2", "1", why)
        assert servers(world) == {"1.1": "serves"}


def _fail_server(world: World, version: int, name: str = "demo", behaviour: Behaviour = BROKEN) -> None:
    """Have the servers of a version not come up."""
    before = world.systemd.behave

    def behave(unit: str) -> Behaviour:
        parsed = names.parse_server(unit)
        return behaviour if parsed and (parsed.name, parsed.release.version) == (name, version) else before(unit)

    world.systemd.behave = behave


def test_a_first_release_that_fails_is_not_tried_again(world: World) -> None:
    """Nothing of it runs or listens, also after a boot."""
    _fail_server(world, 1)
    world.select(demo=1)
    world.converge()
    assert story(world) == (State.FAILED, "1", None, "start-failed")
    world.now += 10_000
    world.systemd.reboot()
    world.converge()
    assert servers(world) == {}
    assert "model-demo.socket" not in world.systemd.units()


def test_the_address_closes_when_everything_is_rejected(world: World) -> None:
    """Also when the release that it names is not the wanted one: nobody waits for an answer that nobody gives."""
    rolled_out(world, 1)
    one = active_release(world)
    _fail_server(world, 2)
    world.select(demo=2)
    world.converge()
    ledger = world.reconciler.ledger
    rejected = Rejected(release=one, reason="failed-in-soak", message="cannot keep it: it is a test")
    ledger.write(ledger.ledger.with_record("demo", ledger.ledger.record("demo").reject(rejected)))
    world.converge()
    assert story(world)[:3] == (State.FAILED, "2", None)
    assert servers(world) == {}
    assert "model-demo.socket" not in world.systemd.units()
    assert enabled(world) == set()


def test_a_boot_does_not_try_a_rejected_release(world: World) -> None:
    """Not even one that nothing served before, and that was enabled while it loaded."""
    _fail_server(world, 1)
    world.select(demo=1)
    while len(enabled(world)) < 2:
        world.reconciler.one_pass()
        if not any(_loads(unit, one.active) for unit, one in world.systemd.units().items()):
            world.systemd.settle()
    world.converge()
    assert story(world) == (State.FAILED, "1", None, "start-failed")
    assert enabled(world) == set()


def test_a_boot_starts_what_the_socket_names_at_any_moment(world: World) -> None:
    """Also while a release takes the place of one that is down."""
    rolled_out(world, 1)
    _fail_server(world, 1)
    world.systemd.crash(active(world))
    world.systemd.settle()
    world.select(demo=2)
    seen = []

    def after(_number: int, _action: Action) -> None:
        seen.append(enabled(world) - {"model-demo.socket"})
        assert seen[-1] <= {active(world)}

    world.reconciler.runner.after_action = after
    world.converge()
    assert len({frozenset(one) for one in seen}) == 3
    assert story(world)[2] == "2"


def test_what_is_the_hosts_fault_is_tried_again(world: World) -> None:
    """A full disk or a missing directory says nothing about a release."""
    rolled_out(world, 1)
    behave = world.systemd.behave
    _fail_server(world, 2, behaviour=Behaviour(works=False, result="resources"))
    world.select(demo=2)
    world.converge()
    assert story(world) == (State.DEGRADED, "2", "1", "start-failed")
    world.systemd.behave = behave
    world.now += 10_000
    world.converge()
    assert story(world)[3] == "soaking"


def test_a_newer_promotion_cancels_a_rollout(world: World) -> None:
    """What was loading is stopped; the good one stands by until the newest has proved itself."""
    rolled_out(world, 1)
    world.select(demo=2)
    world.converge()
    world.select(demo=3)
    world.converge()
    assert servers(world) == {"1.1": "stands by", "3.1": "serves"}
    world.systemd.crash(active(world))
    world.converge()
    assert story(world) == (State.DEGRADED, "3", "1", "failed-in-soak")


def test_a_release_that_should_resume_stands_by_again_when_something_newer_is_promoted(world: World) -> None:
    """While that is made ready, one release answers and not two."""
    rolled_out(world, 1)
    world.select(demo=2)
    world.converge()
    world.select(demo=1)
    world.reconciler.one_pass()
    assert servers(world) == {"1.1": "serves", "2.1": "serves"}
    world.select(demo=3)
    world.reconciler.one_pass()
    assert servers(world) == {"1.1": "stands by", "2.1": "serves"}


def test_a_candidate_that_is_no_longer_wanted_is_stopped(world: World) -> None:
    """Promote, demote, promote: what is wanted in the end serves in the end."""
    rolled_out(world, 1)
    world.select(demo=2)
    for _ in range(8):
        world.reconciler.one_pass()
    world.select(demo=1)
    world.converge()
    assert story(world)[:3] == (State.SERVING, "1", "1")
    assert servers(world) == {"1.1": "serves"}


def test_going_back_by_promotion_needs_no_new_proof_while_the_old_one_stands_by(world: World) -> None:
    """The good release resumes; it is good already."""
    rolled_out(world, 1)
    since = world.systemd.units()[active(world)].since
    world.select(demo=2)
    world.converge()
    world.now += 5
    world.select(demo=1)
    world.converge()
    assert story(world) == (State.SERVING, "1", "1", "")
    assert world.systemd.units()[active(world)].since == since


def test_recreate_stops_the_old_release_before_it_starts_the_new_one(world: World) -> None:
    """Never two of them in memory; the address stays, and a failure brings the old one back."""
    world.reconciler.settings = deploy(strategy="recreate")
    rolled_out(world, 1)
    socket = world.systemd.invocation("model-demo.socket")
    world.select(demo=2)
    for _ in range(40):
        world.reconciler.one_pass()
        loaded = [unit for unit in world.systemd.units() if names.parse_server(unit)]
        assert len(loaded) <= 1, loaded
        world.systemd.settle()
    assert story(world) == (State.ROLLING_OUT, "2", "2", "soaking")
    world.now += SOAK + 1
    world.converge()
    _fail_server(world, 3)
    world.select(demo=3)
    world.converge()
    assert story(world) == (State.DEGRADED, "3", "2", "start-failed")
    assert servers(world) == {"2.1": "serves"}
    assert world.systemd.invocation("model-demo.socket") == socket


def test_recreate_does_not_start_what_it_is_about_to_replace(world: World) -> None:
    """The old release is down when the new one can be started: there are still never two of them in memory."""
    world.reconciler.settings = deploy(strategy="recreate")
    rolled_out(world, 1)
    world.select(demo=2)
    while not any(unit == names.verify_unit("demo", 2) for unit in world.systemd.units()):
        world.reconciler.one_pass()
        world.systemd.settle()
    world.systemd.stop(active(world))
    world.systemd.settle()
    for _ in range(10):
        world.reconciler.one_pass()
        assert (
            sum(one.active != "inactive" for unit, one in world.systemd.units().items() if names.parse_server(unit)) < 2
        )
        world.systemd.settle()
    assert story(world)[:3] == (State.ROLLING_OUT, "2", "2")


def test_replicas_share_the_address_and_are_rolled_one_by_one(world: World) -> None:
    """At each moment somebody accepts, and at most one more than asked for is loading."""
    world.reconciler.settings = deploy(replicas=3)
    rolled_out(world, 1)
    assert servers(world) == {"1.1": "serves", "1.2": "serves", "1.3": "serves"}
    world.select(demo=2)
    accepting = []
    for _ in range(40):
        world.reconciler.one_pass()
        loading = [unit for unit, one in world.systemd.units().items() if _loads(unit, one.active)]
        assert len(loading) <= 1
        accepting.append(sorted(key for key, does in servers(world).items() if does == "serves"))
        world.systemd.settle()
    assert ["1.1", "1.2", "1.3"] in accepting
    assert ["1.2", "1.3", "2.1"] in accepting
    assert ["1.3", "2.1", "2.2"] in accepting
    assert accepting[-1] == ["2.1", "2.2", "2.3"]
    assert len(enabled(world)) == 4
    _fail_replica(world, 3, 2)
    world.now += SOAK + 1
    world.converge()
    world.select(demo=3)
    world.converge()
    assert story(world) == (State.DEGRADED, "3", "2", "start-failed")
    assert servers(world) == {"2.1": "serves", "2.2": "serves", "2.3": "serves"}


def test_a_first_release_serves_with_the_replicas_it_has_until_the_next_one_is_ready(world: World) -> None:
    """Something newer is promoted before all of them have started."""
    world.reconciler.settings = deploy(replicas=3)
    world.select(demo=1)
    while servers(world) != {"1.1": "serves", "1.2": "serves"}:
        world.reconciler.one_pass()
        world.systemd.settle()
    world.select(demo=2)
    for _ in range(40):
        world.reconciler.one_pass()
        assert "serves" in servers(world).values()
        world.systemd.settle()
    assert set(servers(world)) >= {"2.1", "2.2", "2.3"}


def test_replicas_of_a_release_in_its_soak_make_way_one_by_one(world: World) -> None:
    """Those that were told to stand by do not count as failed, so the good release is not called back."""
    world.reconciler.settings = deploy(replicas=3)
    rolled_out(world, 1)
    world.select(demo=2)
    world.converge()
    world.select(demo=3)
    for _ in range(40):
        world.reconciler.one_pass()
        assert {servers(world).get(f"1.{number}") for number in (1, 2, 3)} == {"stands by"}
        world.systemd.settle()
    assert story(world) == (State.ROLLING_OUT, "3", "3", "soaking")


def _loads(unit: str, state: str) -> bool:
    return names.parse_server(unit) is not None and state == "activating"


def _fail_replica(world: World, version: int, number: int) -> None:
    """Have one of several servers of a version not come up."""
    before = world.systemd.behave

    def behave(unit: str) -> Behaviour:
        parsed = names.parse_server(unit)
        hit = parsed and (parsed.release.version, parsed.replica) == (version, number)
        return BROKEN if hit else before(unit)

    world.systemd.behave = behave


def test_scaling_rolls_nothing(world: World) -> None:
    """More servers are added one by one, superfluous ones stopped and removed; the others are not touched."""
    rolled_out(world, 1)
    since = world.systemd.units()[active(world)].since
    for replicas in (3, 2, 1):
        world.reconciler.settings = deploy(replicas=replicas)
        world.now += 1
        world.converge()
        assert servers(world) == {f"1.{number}": "serves" for number in range(1, replicas + 1)}
        assert len(enabled(world)) == replicas + 1
        assert len(list(world.etc.glob("model-demo@*.service"))) == replicas
        assert world.systemd.units()[active(world)].since == since


def test_a_failing_replica_takes_nothing_down(world: World) -> None:
    """The others serve, and the status says what is missing."""
    rolled_out(world, 1)
    _fail_replica(world, 1, 2)
    world.reconciler.settings = deploy(replicas=2)
    world.converge()
    assert servers(world) == {"1.1": "serves"}
    assert "model-demo.socket" in world.systemd.units()
    assert story(world) == (State.DEGRADED, "1", "1", "start-failed")


def test_an_idle_server_is_not_missed(world: World) -> None:
    """It ended because nobody asked; the address stays and nothing is started, also when a new version comes."""
    world.reconciler.settings = deploy(idle_timeout=300)
    rolled_out(world, 1)
    world.systemd.stop(active(world))
    assert world.systemd.units()[active(world)].active == "deactivating"
    world.reconciler.one_pass()
    assert story(world)[0] is State.IDLE
    world.systemd.settle()
    world.converge()
    assert story(world) == (State.IDLE, "1", "1", "")
    assert servers(world) == {}
    assert enabled(world) == {active(world), "model-demo.socket"}
    world.systemd.start(active(world))
    world.converge()
    assert story(world)[0] is State.SERVING
    world.systemd.stop(active(world))
    world.systemd.settle()
    rolled_out(world, 2)


def test_a_failed_update_of_an_idle_release_leaves_it_idle(world: World) -> None:
    """Degraded: the next request starts the old one."""
    world.reconciler.settings = deploy(idle_timeout=300)
    rolled_out(world, 1)
    world.systemd.stop(active(world))
    world.systemd.settle()
    _fail_server(world, 2)
    world.select(demo=2)
    world.converge()
    assert story(world)[:3] == (State.DEGRADED, "2", "1")
    assert world.status()["demo"].reason is Reason.START_FAILED
    assert servers(world) == {}
    assert "model-demo.socket" in world.systemd.units()


def test_old_releases_are_kept_as_many_as_asked_for(world: World) -> None:
    """Their units, files and environments; the rest is collected."""
    for keep in (2, 0):
        world.reconciler.settings = deploy(keep_releases=keep)
        rolled_out(world, *range(1, 5))
        kept = {one.rpartition("/")[2] for one in world.systemd.state_directories if "/demo/releases/" in one}
        assert kept == {str(version) for version in range(4 - keep, 5)}
        assert len(list(world.etc.glob("mlflow-build@*"))) == keep + 1
        world.select()
        world.converge()


def test_an_unselected_release_is_kept_for_a_while(world: World) -> None:
    """It stops at once; selected again in time, it is started without being fetched."""
    world.reconciler.settings = deploy(removal_grace=600)
    rolled_out(world, 1)
    fetched = world.systemd.invocation(names.fetch_unit("demo", 1))
    world.select()
    world.converge()
    assert story(world) == (State.REMOVING, None, None, "kept-for-a-while")
    assert servers(world) == {}
    assert "model-demo.socket" not in world.systemd.units()
    world.now += 599
    world.select(demo=1)
    world.converge()
    assert story(world) == (State.SERVING, "1", "1", "")
    assert world.systemd.invocation(names.fetch_unit("demo", 1)) == fetched
    world.select()
    world.converge()
    world.now = world.reconciler.next_deadline() or 0
    world.converge()
    assert [one for one in world.listing() if "demo" in one] == []


def test_files_are_compared_again_every_now_and_then(world: World) -> None:
    """What was damaged is made anew, and the server goes on meanwhile."""
    rolled_out(world, 1)
    verify, fetch = names.verify_unit("demo", 1), names.fetch_unit("demo", 1)
    first, since = world.systemd.invocation(verify), world.systemd.units()[active(world)].since
    world.now += 3601
    world.converge()
    second = world.systemd.invocation(verify)
    assert second != first
    fetched = world.systemd.invocation(fetch)
    world.failures[verify] = Behaviour(works=False, status_text="cannot trust the release: model/x was changed")
    world.now += 3601
    world.converge()
    assert story(world) == (State.SERVING, "1", "1", "verify-failed")
    world.failures.clear()
    world.now += 700
    world.converge()
    assert story(world) == (State.SERVING, "1", "1", "")
    assert world.systemd.invocation(fetch) != fetched
    assert world.systemd.units()[active(world)].since == since


def test_an_unusable_ledger_is_kept_aside(world: World) -> None:
    """Everything goes on; what failed before may be tried once more."""
    rolled_out(world, 1)
    (world.state / "ledger.json").write_text("{")
    world.new_reconciler()
    world.converge()
    assert story(world)[:3] == (State.SERVING, "1", "1")
    assert (world.state / "ledger.json.unusable").read_text() == "{"


@pytest.fixture(autouse=True)
def _one_release_is_enabled(world: World) -> Iterator[None]:
    """Whatever happened: a boot starts one release of each deployment at most."""
    yield
    servers = [server for unit in enabled(world) if (server := names.parse_server(unit))]
    releases = {(server.name, server.release) for server in servers}
    assert len(releases) == len({server.name for server in servers})
