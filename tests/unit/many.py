"""Hosts with many deployments, and what a pass over them opens."""

import contextlib
import sys
from collections.abc import Iterator

from reconciler.core.units import names
from reconciler.settings.model import DeploySettings, PolicySettings, ReconcileSettings, Settings
from tests.unit.conftest import World

STEPS, STARTS = 300, 100
"""Limits of these hosts: of steps, and of servers that load."""
_OPENED: list[list[str]] = []
"""The lists that note opened files just now; the hook itself cannot be removed."""


def settings(steps: int = STEPS, starts: int = STARTS) -> Settings:
    """Settings that allow ten thousand deployments."""
    return Settings(
        policy=PolicySettings(names=("*",), max_deployments=10_000),
        deploy=DeploySettings(soak=0, keep_releases=0, removal_grace=0, port_range=(20_000, 39_999)),
        reconcile=ReconcileSettings(parallel_steps=steps, parallel_starts=starts),
    )


def select(world: World, number: int, version: int = 1) -> None:
    """Have the registry select so many models."""
    world.select(**{f"m{index:04d}": version for index in range(number)})


def loading(world: World) -> list[str]:
    """The servers that load."""
    units = world.systemd.units()
    return [name for name, unit in units.items() if unit.active == "activating" and names.parse_server(name)]


def roll_out(world: World) -> tuple[int, int]:
    """Run passes until nothing is left to do; return how many, and how many servers loaded at once at most."""
    most = 0
    for number in range(1, 1000):
        acted = world.reconciler.one_pass()
        most = max(most, len(loading(world)))
        world.systemd.settle()
        if not acted:
            return number, most
    raise AssertionError("still acting")


@contextlib.contextmanager
def opened() -> Iterator[list[str]]:
    """Note the names of the files that are opened within."""
    if not _OPENED:
        sys.addaudithook(_note)
        _OPENED.append([])  # so that there is one hook only
    noted: list[str] = []
    _OPENED.append(noted)
    try:
        yield noted
    finally:
        _OPENED.remove(noted)


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open":
        for noted in _OPENED[1:]:
            noted.append(str(arguments[0]))
