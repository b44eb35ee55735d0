"""The host's own check of a model's files over the fake systemd: its no is the reason, and a new one is asked again."""

from pathlib import Path

import pytest

from reconciler.core.state.status import State
from reconciler.core.units import names
from reconciler.settings.model import DeploySettings, FetchSettings, Settings
from tests.fakes.systemd import Behaviour
from tests.unit.conftest import OPEN, World

VERIFY = names.verify_unit("demo", 1)
WHY = "cannot use version 1 of demo: the signature check /usr/local/bin/check said: no signature (exit status 1)"
NO = Behaviour(works=False, status_text=WHY)


def settings(*command: str, verify_interval: int = 3600) -> Settings:
    """Settings with a check."""
    deploy = DeploySettings(soak=0, keep_releases=0, removal_grace=0, verify_interval=verify_interval)
    return Settings(policy=OPEN, deploy=deploy, fetch=FetchSettings(verify_command=command))


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A host with a check."""
    return World(tmp_path / "host", settings=settings("/usr/local/bin/check", "--key", "a b"))


def check(world: World, *command: str, verify_interval: int = 3600) -> None:
    """Change the setting, as a reload does."""
    world.settings = settings(*command, verify_interval=verify_interval)
    world.new_reconciler()
    world.converge()


def test_what_the_check_says_no_to_is_not_started_and_the_status_says_why(world: World) -> None:
    """However often it is tried; what served before goes on serving."""
    world.select(demo=1)
    world.failures[VERIFY] = NO
    world.converge()
    one = world.status()["demo"]
    assert (one.state, one.reason, one.message) == (State.FAILED, "verify-failed", WHY)
    assert not list(world.etc.glob("model-demo@*.service"))
    assert '"--check=/usr/local/bin/check" "--check=--key" "--check=a b"' in (world.etc / VERIFY).read_text()
    world.now += 3600
    world.converge()
    assert world.status()["demo"].message == WHY
    del world.failures[VERIFY]
    world.now += 3600
    world.converge()
    assert world.status()["demo"].state is State.SERVING
    world.failures[names.verify_unit("demo", 2)] = NO
    world.select(demo=2)
    world.converge()
    one = world.status()["demo"]
    assert (one.state, one.active_version, one.message) == (State.DEGRADED, "1", WHY)


@pytest.mark.parametrize("verify_interval", [0, 3600])
def test_what_serves_is_checked_again_when_the_check_is_another(world: World, verify_interval: int) -> None:
    """At once, once, and with a no in the status; so it is when there is none any more."""
    world.select(demo=1)
    world.converge()
    (server,) = (path.name for path in world.etc.glob("model-demo@*.service"))
    started = world.systemd.invocation(server)
    for command in (["/usr/local/bin/other"], ["/usr/local/bin/other", "strict"], []):
        before = world.systemd.invocation(VERIFY)
        check(world, *command, verify_interval=verify_interval)
        after = world.systemd.invocation(VERIFY)
        assert after != before
        text = (world.etc / VERIFY).read_text()
        assert all(f'"--check={word}"' in text for word in command)
        assert text.count("--check=") == len(command)
        check(world, *command, verify_interval=verify_interval)
        assert world.systemd.invocation(VERIFY) == after
    world.failures[VERIFY] = NO
    check(world, "/usr/local/bin/strict", verify_interval=verify_interval)
    one = world.status()["demo"]
    assert (one.state, one.reason, one.message) == (State.SERVING, "verify-failed", WHY)
    assert world.systemd.invocation(server) == started


def test_what_comes_up_again_is_checked_as_the_settings_are_now(world: World) -> None:
    """A release is not started again by us with a yes that another check said."""
    world.select(demo=1)
    world.converge()
    (server,) = (path.name for path in world.etc.glob("model-demo@*.service"))
    world.systemd.stop(server)
    world.systemd.settle()
    world.failures[VERIFY] = NO
    check(world, "/usr/local/bin/strict")
    assert world.systemd.units()[server].active == "inactive"
    assert world.status()["demo"].message == WHY
    del world.failures[VERIFY]
    check(world, "/usr/local/bin/check")
    assert world.status()["demo"].state is State.SERVING
