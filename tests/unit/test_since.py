"""Since when a deployment stands as it does, how often it was tried, and when it is tried next."""

from datetime import UTC, datetime, timedelta
from typing import Any

from reconciler.core.state.reason import Reason
from reconciler.core.state.standing import standing
from reconciler.core.state.status import DeploymentStatus, Outlook, State, Status
from reconciler.core.state.tries import Tries, tries
from reconciler.daemon.loop import Loop
from reconciler.settings.load import SettingsError
from reconciler.settings.model import Settings
from tests.fakes.systemd import Behaviour
from tests.unit.conftest import World
from tests.unit.rollouts import BROKEN, active, deploy, rolled_out

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
BUILD = f"mlflow-build@{1:032x}.service"


def moment(world: World) -> datetime:
    """The wall clock of a host, which is its only one here."""
    return datetime.fromtimestamp(world.now, UTC)


def test_the_first_failure_counts_however_often_it_is_tried(world: World) -> None:
    """A build that never works: SINCE stays, the tries grow, and the next try is known."""
    world.failures[BUILD] = Behaviour(works=False)
    world.select(demo=1)
    world.converge()
    first = world.status()["demo"]
    assert (first.state, first.reason, first.tries) == (State.FAILED, Reason.BUILD_FAILED, 1)
    assert first.since == moment(world)
    for number in (2, 3, 4):
        due = world.status()["demo"].next_try
        assert due is not None
        assert due > moment(world)
        world.now = due.timestamp() + 1
        world.reconciler.one_pass()  # it is being tried
        trying = world.status()["demo"]
        assert (trying.state, trying.tries, trying.next_try) == (State.PREPARING, number - 1, None)
        assert trying.since == first.since
        world.converge()
        failed = world.status()["demo"]
        assert (failed.state, failed.tries, failed.since) == (State.FAILED, number, first.since)
    world.failures.clear()
    world.now += 600
    world.converge()
    serving = world.status()["demo"]
    assert (serving.state, serving.tries, serving.next_try) == (State.SERVING, 0, None)
    assert serving.since == serving.active_since == moment(world)


def test_a_published_status_is_not_written_anew_while_a_retry_comes_nearer(world: World) -> None:
    """The next try is told as a moment, which stays."""
    world.failures[BUILD] = Behaviour(works=False)
    world.select(demo=1)
    world.converge()
    before = (world.directory / "status.json").stat().st_ino
    world.now += 0.3
    world.reconciler.one_pass()
    assert (world.directory / "status.json").stat().st_ino == before


def test_a_version_that_was_rejected_has_no_next_try(world: World) -> None:
    """It failed in its soak and is not tried again by itself, whatever systemd still shows of it."""
    world.settings = deploy()
    world.new_reconciler()
    rolled_out(world, 1)
    world.select(demo=2)
    world.converge()
    world.failures[active(world)] = BROKEN
    world.systemd.crash(active(world))
    world.systemd.settle()
    for _ in range(6):
        world.reconciler.one_pass()
        told = world.status()["demo"]
        assert (told.tries, told.next_try) == (0, None)
    assert (told.state, told.reason) == (State.DEGRADED, Reason.FAILED_IN_SOAK)


def test_what_waits_for_a_person_has_no_next_try(world: World) -> None:
    """Nothing of it is tried meanwhile."""
    world.failures[BUILD] = Behaviour(works=False)
    world.select(demo=1)
    world.converge()
    seen, ledger, memory = world.reconciler.observe(), world.reconciler.ledger.ledger, world.reconciler.notes.memory
    for state, count in ((State.FAILED, 1), (State.HELD, 0), (State.STALLED, 0), (State.SUSPENDED, 0)):
        found = tries([Outlook(name="demo", state=state, desired_version="1")], seen, memory, ledger, world.now)
        assert found.get("demo", Tries()).failures == count


def test_settings_that_were_refused_are_told_until_they_are_mended(world: World) -> None:
    """Not only in the journal: in the status, by the reason, and with which settings the host goes on."""
    answers: list[SettingsError | Settings] = [
        SettingsError("config.toml: registry.urii: no such key; did you mean registry.uri?"),
        world.settings,
    ]

    def load() -> Settings:
        answer = answers.pop(0)
        if isinstance(answer, SettingsError):
            raise answer
        return answer

    world.select(demo=1)
    loop = Loop(world.reconciler, load)
    for trouble in (
        "config.toml: registry.urii: no such key; did you mean registry.uri?; the old settings stay in force",
        "",
    ):
        loop.settings_changed()
        loop._take_settings()
        world.reconciler.one_pass()
        assert Status.model_validate_json((world.directory / "status.json").read_bytes()).trouble == trouble


def outlook(state: State, active: str | None = "1", **fields: Any) -> Outlook:
    """Where version 1 stands."""
    return Outlook(**{"name": "x", "state": state, "desired_version": "1", "active_version": active, **fields})


def follow(*steps: tuple[Outlook, int]) -> list[DeploymentStatus]:
    """Have something happen each minute: an outlook, and the failures in a row."""
    told: list[DeploymentStatus] = []
    for number, (seen, count) in enumerate(steps):
        told.append(standing(seen, told[-1] if told else None, count, None, minute(number)))
    return told


def minute(number: int) -> datetime:
    """A moment of `follow`."""
    return NOW + timedelta(minutes=number)


def test_what_serves_does_so_since_its_version_began_to() -> None:
    """Whatever came in between: a wait for a person, an idle hour, a replica that was missing."""
    states = (State.SERVING, State.HELD, State.SERVING, State.DEGRADED, State.IDLE)
    told = follow(*((outlook(state), 0) for state in states))
    assert [one.since for one in told] == [minute(0), minute(1), minute(0), minute(3), minute(0)]
    assert {one.active_since for one in told} == {minute(0)}


def test_another_version_begins_anew() -> None:
    """Wanted or serving."""
    told = follow(
        (outlook(State.SERVING), 0),
        (outlook(State.PREPARING, desired_version="2"), 0),
        (outlook(State.ROLLING_OUT, "2", desired_version="2"), 0),
        (outlook(State.SERVING, "2", desired_version="2"), 0),
    )
    assert [one.since for one in told] == [minute(0), minute(1), minute(2), minute(2)]


def test_progress_after_failures_begins_anew() -> None:
    """What works at last is not told as if it had lasted since the first failure."""
    told = follow(
        (outlook(State.PREPARING, None), 0), (outlook(State.FAILED, None), 1), (outlook(State.PREPARING, None), 1)
    )
    assert [one.since for one in told] == [minute(0), minute(1), minute(1)]
    [*_, last] = follow(*[(outlook(State.PREPARING, None), 1)] * 2, (outlook(State.PREPARING, None), 0))
    assert last.since == minute(2)


def test_a_status_of_an_earlier_version_is_gone_on_from() -> None:
    """It does not tell since when the active version serves."""
    before = DeploymentStatus(name="x", state=State.SERVING, desired_version="1", active_version="1", since=NOW)
    told = standing(outlook(State.HELD), before, 0, None, minute(5))
    assert (told.since, told.active_since) == (minute(5), NOW)
    assert standing(outlook(State.SERVING), before, 0, None, minute(5)) is before
