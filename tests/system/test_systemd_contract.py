"""What the reconciler relies on of systemd: the fake and the real one answer alike."""

import itertools
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.text.quote import quote_argument
from reconciler.core.units import names
from reconciler.core.units.failures import why_failed
from reconciler.core.units.observed import Unit
from reconciler.ports.systemd import Systemd, SystemdError
from tests.fakes.systemd import Behaviour, FakeSystemd
from tests.host import Host, Layers

pytestmark = [pytest.mark.timeout(300)]

STEP = names.fetch_unit("contract", 1)
SERVER = names.server_unit("contract", "1.00000000")
SOCKET = names.socket_unit("contract")
OBEDIENT = names.server_unit("contract", "2.00000000")
STUBBORN = names.server_unit("contract", "3.00000000")
PROPERTIES_OF_A_SERVER = 3
SIGNALS_OF_A_STATUS = 2
"""Looks that one new status line costs a reading at most: it may come between the signal and the reading."""
DIRECTORY = "mlflow-deploy/model_deploys/contract/releases/1"
SAYS = "fetched 1 files, 1 B; environment=host"
FAILS = "cannot fetch: it is a test; do nothing"


@dataclass
class World:
    """A systemd, and how to give it units and wait for its jobs."""

    systemd: Systemd
    write: Callable[[str, str], None]
    remove: Callable[[str], None]
    settle: Callable[[str, str], Unit]
    """Wait until a unit is in this state, and show it; a job that was accepted may not have begun."""
    port: int
    enabled: Callable[[], set[str]]
    directories: Callable[[], set[str]]
    hold: Callable[[str], None]
    """Make a directory one that cannot be removed, until `stop_unneeded`."""
    stop_unneeded: Callable[[str], None]
    have_stand_by: Callable[[str], None]
    """Have somebody else than the reconciler tell a server to step aside."""
    calls: Callable[[], int]
    """How often the bus was asked to list units or to read a property."""

    def cost(self) -> int:
        """How many calls one look takes."""
        before = self.calls()
        self.systemd.units()
        return self.calls() - before


def step(works: bool) -> str:
    """A step that says one line and ends well or not."""
    line, code = (SAYS, 0) if works else (FAILS, 1)
    return (
        "[Service]\nType=oneshot\nRemainAfterExit=yes\nNotifyAccess=all\n"
        f"StateDirectory={DIRECTORY}\n"
        f"""ExecStart=/bin/sh -c 'systemd-notify --status="{line}"; exit {code}'\n"""
    )


def server() -> str:
    """A service that is ready at once."""
    return (
        "[Service]\nType=notify\nNotifyAccess=all\nExecStart=/bin/sh -c 'systemd-notify --ready; exec sleep 600'\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )


def obedient(obeys: bool) -> str:
    """A server that steps aside and comes back, or does neither."""
    stand_by, resume = ("standing by", "answering") if obeys else ("busy", "busy")
    script = (
        f"""trap 'systemd-notify --status="{stand_by} as x; requests=3 errors=1"' USR1; """
        f"""trap 'systemd-notify --status="{resume} as x; requests=3 errors=1"' USR2; """
        """systemd-notify --ready --status="answering as x; requests=3 errors=1"; while :; do sleep 0.1; done"""
    )
    return f"[Service]\nType=notify\nNotifyAccess=all\nExecStart=/bin/sh -c {quote_argument(script)}\n"


def stubborn() -> str:
    """A server that does not stop, and has systemd wait for that as long as it likes."""
    script = (
        """trap '' TERM; systemd-notify --ready --status="answering as x"; """
        "while :; do systemd-notify EXTEND_TIMEOUT_USEC=60000000; sleep 0.1; done"
    )
    return (
        "[Service]\nType=notify\nNotifyAccess=all\nTimeoutStartSec=77\nTimeoutStopSec=1\nRestart=on-failure\nRestartSec=60\n"
        f"ExecStartPre=/bin/true\nExecStart=/bin/sh -c {quote_argument(script)}\n"
    )


def failing(status: int, before: int) -> str:
    """A server that ends at once, and what is run before it."""
    return f"[Service]\nExecStartPre=/bin/sh -c 'exit {before}'\nType=notify\nExecStart=/bin/sh -c 'exit {status}'\n"


def listening(port: int) -> str:
    """A socket for the server."""
    return f"[Socket]\nListenStream=127.0.0.1:{port}\nService={SERVER}\n[Install]\nWantedBy=sockets.target\n"


def fake_world(directory: Path) -> World:
    """The fake over a temporary directory."""
    texts: dict[str, str] = {}

    def behave(unit: str) -> Behaviour:
        text = texts.get(unit, "")
        if match := re.search(r"exit (\d+)'\nType=notify\nExecStart=/bin/sh -c 'exit (\d+)", text):
            before, status = int(match[1]), int(match[2])
            return Behaviour(works=False, exit_status=before or status, set_up=before == 0)
        if "EXTEND" in text:
            return Behaviour(lingers=unit in fake.units() and fake.units()[unit].active == "deactivating")
        if "exit 1" in text:
            return Behaviour(works=False, status_text=FAILS)
        if "USR1" in text:
            return Behaviour(status_text="answering as x; requests=3 errors=1", obeys="standing by" in text)
        return Behaviour(status_text=SAYS if unit == STEP else "")

    fake = FakeSystemd(directory, behave)

    def write(unit: str, text: str) -> None:
        texts[unit] = text
        (directory / unit).write_text(text)

    def settle(unit: str, _active: str) -> Unit:
        fake.settle()
        return fake.units().get(unit, Unit(unit))

    return World(
        fake,
        write,
        lambda unit: (directory / unit).unlink(missing_ok=True),
        settle,
        20000,
        lambda: {link.name for link in directory.glob("*.wants/*")},
        lambda: fake.state_directories,
        fake.held.add,
        fake.held.discard,
        lambda unit: fake.says(unit, "standing by as x; requests=3 errors=1"),
        fake.calls.total,
    )


def real_world(host: Host) -> World:
    """The adapter over the system bus of a booted host."""
    os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = f"unix:path=/proc/{host.init}/root/run/dbus/system_bus_socket"
    from gi.repository import Gio

    from reconciler.adapters.systemd_dbus import SystemdOverDbus

    real = SystemdOverDbus(20)
    # The host's bus goes before the test does; by default that ends the process.
    Gio.bus_get_sync(Gio.BusType.SYSTEM).set_exit_on_close(False)

    made = 0
    plainly = real._sync

    def counted(*arguments: Any) -> Any:
        nonlocal made
        made += 1
        return plainly(*arguments)

    real._sync = counted  # type: ignore[method-assign,assignment]  # it is counted, and does the same

    def settle(unit: str, active: str) -> Unit:
        def done() -> Unit | None:
            seen = real.units().get(unit, Unit(unit))
            return seen if seen.active == active else None

        return host.wait_for(done, 30, f"{unit} to be {active}")

    return World(
        real,
        lambda unit, text: host.write(f"/etc/systemd/system/{unit}", text),
        lambda unit: (host.run(["rm", "-f", f"/etc/systemd/system/{unit}"]), None)[1],
        settle,
        host.ports.take(),
        lambda: set(host.output(r"find /etc/systemd/system -path '*.wants/*' -printf '%f\n'").split()),
        lambda: {one.removeprefix("/var/lib/") for one in host.output("find /var/lib/mlflow-deploy").split()},
        lambda directory: (host.run(f"mkdir /var/lib/{directory}/x; mount -t tmpfs x /var/lib/{directory}/x"), None)[1],
        lambda directory: (host.run(["umount", f"/var/lib/{directory}/x"]), None)[1],
        lambda unit: (host.run(["systemctl", "kill", "--kill-who=main", "--signal=USR1", unit]), None)[1],
        lambda: made,
    )


@pytest.fixture(scope="module", params=["fake", pytest.param("real", marks=pytest.mark.system)])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Both kinds, one after the other."""
    if request.param == "fake":
        yield fake_world(tmp_path_factory.mktemp("units"))
        return
    image: Layers = request.getfixturevalue("image")
    with Host("contract", base=image) as host:
        host.run("systemctl disable --now mlflow-reconciler mlflow-registry-agent")
        yield real_world(host)


def test_a_step_that_works_stays_and_says_what_came_of_it(world: World) -> None:
    """active (exited), with its last line; its directory is there."""
    world.write(STEP, step(works=True))
    world.systemd.reload()
    world.systemd.start(STEP)
    unit = world.settle(STEP, "active")
    assert unit.has_finished_well
    assert unit.environment == "host"
    assert DIRECTORY in world.directories()


def test_a_stopped_unit_is_forgotten_and_its_directory_can_be_removed(world: World) -> None:
    """Stop, then clean; what runs cannot be cleaned."""
    with pytest.raises(SystemdError):
        world.systemd.clean(STEP)
    world.systemd.stop(STEP)
    assert world.settle(STEP, "inactive").is_down
    world.systemd.clean(STEP)
    assert DIRECTORY not in world.directories()
    world.systemd.clean(STEP)
    world.systemd.stop(STEP)


def test_a_directory_that_could_not_be_removed_is_removed_later(world: World) -> None:
    """The removal that failed says so, and leaves nothing that hinders the next one."""
    world.write(STEP, step(works=True))
    world.systemd.reload()
    world.systemd.start(STEP)
    world.settle(STEP, "active")
    world.systemd.stop(STEP)
    world.settle(STEP, "inactive")
    world.hold(DIRECTORY)
    for _ in range(2):
        with pytest.raises(SystemdError, match="exit-code"):
            world.systemd.clean(STEP)
        unit = world.settle(STEP, "failed")
        assert unit.active == "failed"
        assert "systemd says" not in why_failed(unit)  # the words are ours
    world.stop_unneeded(DIRECTORY)
    world.systemd.clean(STEP)
    assert DIRECTORY not in world.directories()
    assert STEP not in world.systemd.units()


def test_a_step_that_fails_says_why_and_counts_as_one_start(world: World) -> None:
    """failed, with its last line; clearing the failure lets it be started again."""
    world.write(STEP, step(works=False))
    world.systemd.reload()
    world.systemd.start(STEP)
    first = world.settle(STEP, "failed")
    assert (first.active, first.result, first.status_text) == ("failed", "exit-code", FAILS)
    assert first.has_failed
    world.systemd.reset_failed(STEP)
    assert world.settle(STEP, "inactive").is_down
    world.systemd.start(STEP)
    second = world.settle(STEP, "failed")
    assert second.active == "failed"
    assert second.invocation != first.invocation
    world.systemd.reset_failed(STEP)
    world.systemd.reset_failed(STEP)


def test_a_new_file_starts_without_a_reload_and_a_missing_one_not_at_all(world: World) -> None:
    """The first is convenient, the second an error."""
    world.write(SERVER, server())
    world.systemd.start(SERVER)
    assert world.settle(SERVER, "active").active == "active"
    with pytest.raises(SystemdError):
        world.systemd.start(names.server_unit("absent", "1.00000000"))


def test_a_socket_does_not_start_while_its_service_runs(world: World) -> None:
    """systemd refuses; after the service has stopped it listens."""
    world.write(SOCKET, listening(world.port))
    world.systemd.reload()
    with pytest.raises(SystemdError):
        world.systemd.start_and_wait(SOCKET)
    world.systemd.stop(SERVER)
    assert world.settle(SERVER, "inactive").is_down
    world.systemd.reset_failed(SOCKET)
    world.systemd.start_and_wait(SOCKET)
    assert world.settle(SOCKET, "active").active == "active"
    world.systemd.start_and_wait(SOCKET)


def test_a_stopped_service_that_a_socket_names_is_known_to_have_served(world: World) -> None:
    """Another one is forgotten once it is stopped."""
    world.systemd.start(SERVER)
    assert world.settle(SERVER, "active").is_up
    world.systemd.stop(SERVER)
    assert world.settle(SERVER, "inactive").is_down
    unit = world.systemd.units()[SERVER]
    assert (unit.active, unit.ever_active) == ("inactive", True)
    assert STEP not in world.systemd.units()


def test_enabling_links_and_disabling_unlinks(world: World) -> None:
    """Both may be repeated."""
    for _ in range(2):
        world.systemd.enable(SERVER)
        world.systemd.enable(SOCKET)
    assert {SERVER, SOCKET} <= world.enabled()
    for _ in range(2):
        world.systemd.disable(SERVER)
        world.systemd.disable(SOCKET)
    assert not {SERVER, SOCKET} & world.enabled()


def test_a_port_that_somebody_holds_fails_the_socket_for_want_of_resources(world: World) -> None:
    """The result by which the reconciler knows to take another port."""
    world.systemd.stop(SOCKET)
    assert world.settle(SOCKET, "inactive").is_down
    if isinstance(world.systemd, FakeSystemd):
        world.systemd.taken_ports = {world.port}
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", world.port))
        holder.listen()
        with pytest.raises(SystemdError):
            world.systemd.start_and_wait(SOCKET)
        unit = world.settle(SOCKET, "failed")
    assert (unit.active, unit.result) == ("failed", "resources")


def test_a_server_stands_by_and_resumes_as_it_is_told(world: World) -> None:
    """What it says of itself tells which, and how many requests it answered; it runs all the time."""
    world.write(OBEDIENT, obedient(obeys=True))
    world.systemd.reload()
    world.systemd.start(OBEDIENT)
    first = world.settle(OBEDIENT, "active")
    assert (first.is_up, first.stands_by, first.counters) == (True, False, (3, 1))
    world.systemd.stand_by(OBEDIENT, 20)
    second = world.systemd.units()[OBEDIENT]
    assert (second.is_up, second.stands_by, second.counters) == (False, True, (3, 1))
    world.systemd.resume(OBEDIENT, 20)
    third = world.systemd.units()[OBEDIENT]
    assert (third.is_up, third.stands_by) == (True, False)
    assert first.since == third.since > 0
    world.systemd.stop(OBEDIENT)
    assert world.settle(OBEDIENT, "inactive").is_down
    world.systemd.stand_by(OBEDIENT, 20)  # it ended meanwhile: nobody is to be told anything
    assert world.settle(OBEDIENT, "inactive").is_down


def test_a_look_at_units_that_nothing_happens_to_is_one_call(world: World) -> None:
    """And what happens to one, whoever does it, is seen in a look that reads that one alone."""
    world.systemd.start(OBEDIENT)
    world.systemd.start(SERVER)
    assert world.settle(OBEDIENT, "active").is_up
    assert world.settle(SERVER, "active").is_up
    wait_until(lambda: world.cost() == 1)
    assert [world.cost() for _ in range(5)] == [1] * 5
    world.have_stand_by(OBEDIENT)
    before = world.calls()
    looks = wait_until(lambda: world.systemd.units()[OBEDIENT].stands_by)
    assert 1 <= world.calls() - before - looks <= PROPERTIES_OF_A_SERVER * SIGNALS_OF_A_STATUS
    wait_until(lambda: world.cost() == 1)
    for unit in (OBEDIENT, SERVER):
        world.systemd.stop(unit)
        assert world.settle(unit, "inactive").is_down


def wait_until(condition: Callable[[], bool]) -> int:
    """Ask until it is so, and return how often that took."""
    ends = time.monotonic() + 30
    for number in itertools.count(1):
        if condition():
            return number
        assert time.monotonic() < ends
    raise AssertionError


def test_a_server_that_does_not_step_aside_is_stopped(world: World) -> None:
    """It must not go on answering beside the one that takes over."""
    world.write(OBEDIENT, obedient(obeys=False))
    world.systemd.reload()
    world.systemd.start(OBEDIENT)
    assert world.settle(OBEDIENT, "active").is_up
    world.systemd.stand_by(OBEDIENT, 0.5)
    assert world.settle(OBEDIENT, "inactive").is_down


def test_a_server_that_is_killed_ended_by_a_signal(world: World) -> None:
    """All of it, at once; what is not loaded, or does not run, is no error."""
    world.systemd.start(SERVER)
    assert world.settle(SERVER, "active").is_up
    world.systemd.kill(SERVER)
    unit = world.settle(SERVER, "failed")
    assert (unit.active, unit.result) == ("failed", "signal")
    world.systemd.kill(SERVER)
    world.systemd.reset_failed(SERVER)
    world.systemd.kill(names.server_unit("absent", "1.00000000"))


def test_a_server_that_never_stops_tells_its_deadline_and_can_be_killed(world: World) -> None:
    """However long it has systemd wait."""
    world.write(STUBBORN, stubborn())
    world.systemd.reload()
    world.systemd.start(STUBBORN)
    first = world.settle(STUBBORN, "active")
    assert (first.changed, first.allowed) == (0.0, 0.0)
    world.systemd.stop(STUBBORN)
    second = world.settle(STUBBORN, "deactivating")
    assert (second.allowed, second.changed > 0, second.ever_active) == (1.0, True, True)
    world.systemd.kill(STUBBORN)
    assert world.settle(STUBBORN, "failed").result == "signal"
    world.systemd.kill(STUBBORN)
    world.systemd.reset_failed(STUBBORN)


@pytest.mark.parametrize(
    ("status", "before", "seen"), [(226, 0, (226, True)), (78, 0, (78, True)), (3, 226, (226, False))]
)
def test_how_a_command_before_a_server_ends_is_told_apart(
    world: World, status: int, before: int, seen: tuple[int, bool]
) -> None:
    """A process can end with systemd's own numbers, but not before it was begun."""
    world.write(OBEDIENT, failing(status, before))
    world.systemd.reload()
    world.systemd.start(OBEDIENT)
    unit = world.settle(OBEDIENT, "failed")
    assert (unit.exit_status, unit.set_up) == seen
    world.systemd.reset_failed(OBEDIENT)


def test_what_is_removed_is_gone_after_a_reload(world: World) -> None:
    """No unit of the contract is shown any more."""
    world.systemd.reset_failed(SOCKET)
    for unit in (STEP, SERVER, SOCKET, OBEDIENT, STUBBORN):
        world.remove(unit)
    world.systemd.reload()
    assert not {STEP, SERVER, SOCKET} & set(world.systemd.units())
