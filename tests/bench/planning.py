"""`reconciler plan` over the files of a fake host: `python -m tests.bench.planning PICKLE`, for `reconciling.py`.

Everything is the command's own, but for the units: they are those that the fake systemd had, read as over the bus.
"""

import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import cast

from reconciler.adapters import systemd_dbus
from reconciler.cli import main
from reconciler.core.units import paths
from reconciler.core.units.observed import Unit
from tests.fakes.systemd import FakeSystemd


def run(file: Path) -> None:
    """Plan for the host of a pickle that our own benchmark wrote."""
    directory, units = cast(tuple[str, Mapping[str, Unit]], pickle.loads(file.read_bytes()))  # noqa: S301 - our own file
    host = Path(directory)

    def connected(_timeout: float) -> FakeSystemd:
        systemd = FakeSystemd(host / "etc")
        for name, unit in units.items():
            systemd._units[name] = unit
        return systemd

    systemd_dbus.SystemdOverDbus = connected  # type: ignore[misc,assignment]  # the one thing that is not the command's
    paths.UNIT_DIRECTORY = str(host / "etc")  # as are the places of this host
    paths.STATE_DIRECTORY = str(host / "state")
    main.app(["plan", "--config", str(file.with_name("config.toml"))], prog_name="reconciler")


if __name__ == "__main__":
    run(Path(sys.argv[1]))
