"""`rollout.after`: a version begins here once other hosts have proved it; and what hosts say of one, in their tags."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from reconciler.core.registry.elsewhere import reports, why_not_yet
from reconciler.core.registry.host_tags import Host, due, tag_key
from reconciler.core.registry.reading import Version
from reconciler.core.state.reason import Reason
from reconciler.core.state.status import DeploymentStatus, RegistryStatus, State, Status
from reconciler.core.state.verdict import Verdict, verdict
from reconciler.settings.model import RolloutSettings, Settings
from tests.unit.conftest import World
from tests.unit.rollouts import BROKEN, SOAK, active_release, deploy, rolled_out, servers, story

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
HOSTS = ("ward-1", "ward-2")


def said(
    state: State, *, desired: str = "2", active: str | None = "2", reason: Reason = Reason.NONE, age: float = 60
) -> str:
    """What a host writes of version 2, made by the code that writes it."""
    one = DeploymentStatus(
        name="demo", state=state, reason=reason, desired_version=desired, active_version=active, since=NOW,
        url="http://127.0.0.1:20000", message="" if state in (State.SERVING, State.IDLE) else "because",
    )  # fmt: skip
    registry = RegistryStatus(reachable=True, read_at=NOW)
    status = Status(schema=1, host="ward-1", registry=registry, deployments=(one,))
    host = Host(tag_key("ward-1"), "0123abcd")
    tags = due(status, [Version("demo", 2)], host, NOW - timedelta(seconds=age))
    return next(tag.value for tag in tags)


SERVES = said(State.SERVING)


def test_a_version_is_proved_where_it_serves_and_is_the_wanted_one() -> None:
    """An idle one as well: it passed its soak."""
    # A clock is seldom ahead by no minute at all.
    for proof in (SERVES, said(State.IDLE), said(State.SERVING, age=-120)):
        assert why_not_yet(2, {"ward-1": proof}, ["ward-1"], NOW) == ""


@pytest.mark.parametrize(
    ("tag", "why"),
    [
        ("", "ward-1 does not report it"),
        ("removed 2026-11-28T11:00:00Z", "ward-1 does not report it"),
        (said(State.SERVING, age=4 * 3600), "ward-1 has not reported since 2026-11-28 08:00 UTC"),
        (
            said(State.SERVING, age=-400),
            "ward-1 reports a time that is still to come: compare its clock with the one of this host",
        ),
        ("serving 2026-11-28T11:00:00Z", "ward-1 has not reported in a way that it can be trusted"),
        (said(State.ROLLING_OUT, reason=Reason.SOAKING), "ward-1 says 'rolling-out: because'"),
        (said(State.FAILED, active=None), "ward-1 says 'failed: because'"),
        (said(State.DEGRADED, active="1"), "ward-1 says 'degraded: version 1 serves; because'"),
        (
            said(State.DEGRADED, desired="3"),
            "ward-1 says 'serving http://127.0.0.1:20000 (an address of the host itself): version 3 is wanted and does "
            "not come into service, as its tag says'",
        ),
    ],
    ids=["none", "gone", "silent", "the future", "typed", "soaks", "failed", "another serves", "another is wanted"],
)
def test_everything_else_is_no_proof(tag: str, why: str) -> None:
    """The message names the host and what it says."""
    told = why_not_yet(2, {"ward-1": tag}, ["ward-1"], NOW)
    assert told == f"version 2 begins here when it serves on ward-1: {why}"


def test_all_hosts_have_to_prove_it() -> None:
    """Those that have are not named."""
    assert why_not_yet(2, {"ward-1": SERVES, "ward-2": SERVES}, HOSTS, NOW) == ""
    assert why_not_yet(2, {"ward-1": SERVES}, HOSTS, NOW) == (
        "version 2 begins here when it serves on ward-1, ward-2: ward-2 does not report it"
    )


def test_only_the_tags_of_the_hosts_that_are_waited_for_are_taken_along() -> None:
    """A host's name may have characters that a tag's may not."""
    tags = {tag_key("ward-1"): SERVES, "deployed.other": SERVES, "deploy.memory_max": "1G"}
    assert reports(tags, HOSTS) == {"ward-1": SERVES}
    assert reports({tag_key("ward-1"): "x" * 5000}, ["ward-1"])["ward-1"].startswith("x" * 800)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A host that waits for another one, and whose releases have a soak."""
    return World(tmp_path / "host", settings=after("ward-1"))


def after(*hosts: str) -> Settings:
    """Settings of a host that lets these go first."""
    return deploy().model_copy(update={"rollout": RolloutSettings(after=hosts)})


def select(world: World, version: int, tag: str = "") -> None:
    """Have the registry select a version, of which ward-1 says this."""
    model = {"name": "demo", "version": version, "source": f"models:/m-demo{version}", "selected_by": "alias:ward"}
    model["reports"] = {"ward-1": tag} if tag else {}
    document = {"schema": 1, "registry": "http://r", "read_at": "2026-01-01T00:00:00Z", "models": [model]}
    world.write_snapshot(document)
    world.converge()


def proof(world: World) -> str:
    """Return what ward-1 says, at the world's own time, of a version that serves there."""
    seen = datetime.fromtimestamp(world.now, UTC)
    return f"serving 1970-01-01T00:00:00Z http://10.0.0.1:20000 (seen {seen:%Y-%m-%dT%H:%MZ}, host 0123abcd)"


def test_a_first_version_waits_for_the_other_host(world: World) -> None:
    """Nothing of it is fetched meanwhile."""
    select(world, 1)
    one = world.status()["demo"]
    assert (one.state, one.reason) == (State.PENDING, Reason.OTHER_HOSTS_FIRST)
    assert one.message == "version 1 begins here when it serves on ward-1: ward-1 does not report it"
    assert world.systemd.units() == {}
    document = Status(schema=1, host="here", registry=RegistryStatus(reachable=True, read_at=NOW), deployments=(one,))
    assert verdict(document)[0] is Verdict.OK
    select(world, 1, proof(world))
    world.now += SOAK + 1
    world.converge()
    assert story(world)[:3] == (State.SERVING, "1", "1")


def test_the_former_version_serves_while_the_next_one_waits(world: World) -> None:
    """And goes on for good when the other host has rejected it."""
    world.reconciler.settings = after()
    rolled_out(world, 1)
    world.reconciler.settings = after("ward-1")
    for tag in ("", "failed: it raised KeyError (seen 1970-01-01T00:17Z, host 0123abcd)"):
        select(world, 2, tag)
        assert story(world) == (State.PENDING, "2", "1", Reason.OTHER_HOSTS_FIRST)
        assert servers(world) == {"1.1": "serves"}
    select(world, 2, proof(world))
    world.now += SOAK + 1
    world.converge()
    assert story(world)[:3] == (State.SERVING, "2", "2")


def test_what_has_begun_goes_on_when_the_other_host_falls_silent(world: World) -> None:
    """In its soak, and afterwards; a server that fails then is started again."""
    world.reconciler.settings = after()
    rolled_out(world, 1)
    world.reconciler.settings = after("ward-1")
    select(world, 2, proof(world))
    select(world, 2)
    assert story(world) == (State.ROLLING_OUT, "2", "2", Reason.SOAKING)
    world.now += SOAK + 1
    world.converge()
    assert story(world)[:3] == (State.SERVING, "2", "2")
    world.systemd.stop(next(unit for unit in world.systemd.units() if "@2." in unit and unit.startswith("model-")))
    world.systemd.settle()
    world.converge()
    assert servers(world)["2.1"] == "serves"


def test_going_back_waits_for_nobody(world: World) -> None:
    """A version that this host proved itself needs nobody else's word: the host that has it may be away."""
    world.reconciler.settings = after()
    rolled_out(world, 1)
    rolled_out(world, 2)
    world.reconciler.settings = after("ward-1")
    select(world, 1)
    world.now += SOAK + 1
    world.converge()
    assert story(world)[:3] == (State.SERVING, "1", "1")


def test_a_version_that_was_rejected_here_says_so_and_not_that_it_waits(world: World) -> None:
    """The other host cannot change that."""
    world.reconciler.settings = after()
    rolled_out(world, 1)
    world.reconciler.settings = after("ward-1")
    select(world, 2, proof(world))
    world.failures[f"model-demo@{active_release(world)}.service"] = BROKEN
    world.systemd.crash(f"model-demo@{active_release(world)}.service")
    world.converge()
    select(world, 2)
    assert story(world)[:3] == (State.DEGRADED, "2", "1")


def test_a_removal_waits_for_nobody(world: World) -> None:
    """Taking a model out of production is no new version."""
    select(world, 1, proof(world))
    document = {"schema": 1, "registry": "http://r", "read_at": "2026-01-01T00:00:00Z", "models": [], "known": ["demo"]}
    world.write_snapshot(document)
    world.converge()
    assert world.status() == {}
