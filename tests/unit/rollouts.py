"""A deployment over the fake systemd, seen from outside: what several tests of rollouts ask, and do first."""

from typing import NamedTuple

from reconciler.core.state.status import State
from reconciler.core.units import names
from reconciler.core.units.names import ReleaseId
from reconciler.settings.model import DeploySettings, Settings
from tests.fakes.systemd import Behaviour
from tests.unit.conftest import OPEN, World

BROKEN = Behaviour(works=False, status_text="cannot load the model: KeyError: 'x'; mend load_context")
SOAK = 60
"""Seconds."""


def deploy(**changes: object) -> Settings:
    """Settings with a soak."""
    values: dict[str, object] = {"soak": SOAK, "keep_releases": 1, "removal_grace": 0, **changes}
    return Settings(policy=OPEN, deploy=DeploySettings(**values))  # type: ignore[arg-type]  # validated by pydantic


def active(world: World, name: str = "demo") -> str:
    """The server unit that the socket names."""
    text = (world.etc / names.socket_unit(name)).read_text()
    return next(line.removeprefix("Service=") for line in text.splitlines() if line.startswith("Service="))


def active_release(world: World, name: str = "demo") -> ReleaseId:
    """The release that the socket names."""
    server = names.parse_server(active(world, name))
    assert server is not None
    return server.release


def servers(world: World) -> dict[str, str]:
    """What each running server does, by its version and number."""
    found = {}
    for unit, state in world.systemd.units().items():
        if (parsed := names.parse_server(unit)) and state.active == "active":
            key = f"{parsed.release.version}.{parsed.replica}"
            found[key] = "stands by" if state.stands_by else "serves"
    return found


class Story(NamedTuple):
    """What the status tells of a deployment."""

    state: State
    desired: str | None
    active: str | None
    reason: str


def story(world: World, name: str = "demo") -> Story:
    """Read the status of a deployment."""
    told = world.status()[name]
    return Story(told.state, told.desired_version, told.active_version, told.reason)


def rolled_out(world: World, *versions: int) -> None:
    """Roll versions out one after the other, each through its soak."""
    for version in versions:
        world.select(demo=version)
        world.converge()
        world.now += SOAK + 1
        world.converge()
        assert story(world)[:3] == (State.SERVING, str(version), str(version))


def enabled(world: World) -> set[str]:
    """What a boot would start."""
    return {link.name for link in world.etc.glob("*.wants/*")}
