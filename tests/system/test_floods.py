"""A model that makes systemd, and with it the reconciler, hear more than they can bear; and many promotions at once."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from tests.host import Layers, Registry, installed_host
from tests.system.site import SCIENTIST, Site, code
from tests.system.steady import Steady

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

SETTINGS = "[reconcile]\nretry_min = 1\nretry_max = 5\nparallel_steps = 2\n"
RECONCILER = "mlflow-reconciler.service"
MANAGER = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
MEBIBYTE = 1024
"""In the units of /proc."""
GROWTH = 150 * MEBIBYTE
"""Far more than the reconciler needs for anything here, far less than what a flood would take of it."""
SECONDS = 60
"""For which a model floods, unless it is ended: longer than nobody listens after the flood before."""
QUIET_SECONDS = 10
FLOODS = {
    "its status line": ["STATUS=answering {number}"],
    "long status lines": ["STATUS={number}" + "x" * 3000],
    "its state": ["RELOADING=1", "READY=1\nSTATUS={number}"],
    "an error's number": ["ERRNO=1", "ERRNO=2"],
}
"""What it sends again and again."""
QUIET_FLOOD = ["WATCHDOG=1", "FDSTORE=1\nFDNAME=x", "EXTEND_TIMEOUT_USEC=1"]
"""What systemd tells nobody."""
PROMOTED_AT_ONCE = 6
LIMIT = 2
FLOODER = """
import socket
import threading
import time

import mlflow
from mlflow.pyfunc import PythonModel

def flood(lines, seconds):
    end = time.monotonic() + seconds
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.connect("/run/systemd/notify")
        number = 0
        while time.monotonic() < end:
            for line in lines:
                number += 1
                notify.send(line.format(number=number).encode())
    print("the flood is over", flush=True)

class Flooder(PythonModel):
    def predict(self, context, model_input, params=None):
        lines = model_input[0].get("flood")
        if lines:
            threading.Thread(target=flood, args=(lines, model_input[0]["seconds"]), daemon=True).start()
        return [0.5], "negative"

mlflow.models.set_model(Flooder())
"""


@pytest.fixture(scope="module")
def site(image: Layers) -> Iterator[Site]:
    """A site on which one model floods when it is asked to, beside three that do nothing wrong."""
    with installed_host(image, "floods", settings=SETTINGS) as host:
        registry = Registry(host, host.registry_port)
        registry.start()
        site = Site(host, registry)
        neighbours = [{"name": f"neighbour{number}", "code": code()} for number in range(3)]
        others = [{"name": f"other{number}", "code": code()} for number in range(PROMOTED_AT_ONCE + 1)]
        site.serve({"name": "flooder", "code": FLOODER}, *neighbours)
        site.register(*others)
        site.settle()
        yield site


def memory(site: Site) -> int:
    """The most memory that the reconciler ever had, in KiB."""
    pid = site.host.output(["systemctl", "show", "--property=MainPID", "--value", RECONCILER])
    return int(site.host.output(f"awk '/^VmHWM/ {{print $2}}' /proc/{pid}/status"))


def server(site: Site) -> tuple[str, str]:
    """The flooder's unit, and which of its starts it is."""
    (unit,) = site.host.output("cd /etc/systemd/system; ls -d model-flooder@*.service").splitlines()
    return unit, site.host.output(["systemctl", "show", "--property=InvocationID", "--value", unit])


def have_it_flood(site: Site, lines: list[str], seconds: int = SECONDS) -> None:
    """Ask the model to; it answers, and then does."""
    assert site.predict("flooder", {"flood": lines, "seconds": seconds}, {}).status_code == 200


def kills(site: Site) -> int:
    """How often it was told, in the story of the model, that it was killed and why."""
    told = [str(entry["MESSAGE"]) for entry in site.story("flooder")]
    why = "it changed its state or its status line more than 100 times within 5 s"
    return sum(line.startswith("kill model-flooder@") and line.endswith(why) for line in told)


def floods(site: Site) -> int:
    """How many floods came to their own end."""
    return sum(str(entry["MESSAGE"]) == "the flood is over" for entry in site.story("flooder"))


def answers(site: Site) -> bool:
    """Whether the flooder does."""
    try:
        return site.predict("flooder", {}, {}).status_code == 200
    except httpx.HTTPError:
        return False  # it is being started


@contextmanager
def neighbours_go_on(site: Site) -> Iterator[None]:
    """Each of the three answers every request meanwhile."""
    asked = [Steady(site.statuses()[f"neighbour{one}"]["url"], ([0.5], "negative")) for one in range(3)]
    try:
        yield
        for one in asked:
            with one.unharmed(site.host):
                pass
    finally:
        for one in asked:
            one.stop()


@pytest.mark.parametrize("what", list(FLOODS))
def test_a_flood_takes_neither_memory_nor_time_of_others(site: Site, what: str) -> None:
    """It is ended and told, the neighbours answer; another model is promoted and serves meanwhile."""
    before, told, over, started = memory(site), kills(site), floods(site), server(site)
    with neighbours_go_on(site):
        have_it_flood(site, FLOODS[what])
        if what == "its status line":
            site.registry.promote("other0", 1)
        site.host.wait_for(lambda: server(site) != started or floods(site) > over or None, 90, "the flood to be over")
        if what == "its status line":
            site.wait_for("other0", "serving", 1)
        site.host.wait_for(lambda: answers(site) or None, 90, "the flooder to answer again")
    assert memory(site) - before < GROWTH
    assert kills(site) > told
    assert floods(site) == over


def heard(site: Site) -> None:
    """Have the reconciler complete a pass that began after this was asked."""
    site.host.run(["reconciler", "retry", "flooder"], timeout=60)


def test_what_systemd_tells_nobody_harms_nobody(site: Site) -> None:
    """It is not noticed, and there is nothing to notice."""
    before, told, started = memory(site), kills(site), server(site)
    over = floods(site)
    with neighbours_go_on(site):
        have_it_flood(site, QUIET_FLOOD, QUIET_SECONDS)
        site.host.wait_for(lambda: floods(site) > over or None, 90, "the flood to be over")
    assert memory(site) - before < GROWTH
    assert (kills(site), server(site)) == (told, started)


FORGER = """
import sys
from gi.repository import Gio, GLib
bus = Gio.bus_get_sync(Gio.BusType.SYSTEM)
about = GLib.Variant("(sa{sv}as)", ("org.freedesktop.systemd1.Unit", {}, []))
for _ in range(1000):
    bus.emit_signal(None, sys.argv[1], "org.freedesktop.DBus.Properties", "PropertiesChanged", about)
bus.flush_sync()
"""


def test_a_user_of_the_host_has_no_model_killed_by_signals_in_systemds_name(site: Site) -> None:
    """Anybody may send signals on the system bus; only systemd's own are listened to."""
    told, started = kills(site), server(site)
    path = site.host.output(["busctl", "call", *MANAGER, "GetUnit", "s", started[0]]).split()[1].strip('"')
    site.host.run(["python3", "-c", FORGER, path], user=SCIENTIST)
    heard(site)
    assert (kills(site), server(site)) == (told, started)


def test_many_promotions_at_once_are_prepared_a_few_at_a_time(site: Site) -> None:
    """Never more steps than the settings say, as systemd tells it; what waits says so, and all serve in the end."""
    names = [f"other{number}" for number in range(1, PROMOTED_AT_ONCE + 1)]
    with neighbours_go_on(site):
        for name in names:
            site.registry.promote(name, 1)
        for name in names:
            site.wait_for(name, "serving", 1)
    running: set[str] = set()
    most = 0
    for line in site.host.journal("--output=cat", "_PID=1").splitlines():
        if step := re.search(r"(Starting|Finished) (mlflow-(?:fetch|verify)@other[1-9]\.1\.service)", line):
            (running.add if step[1] == "Starting" else running.discard)(step[2])
            most = max(most, len(running))
    assert most == LIMIT
    waited = f"waits for its turn to fetch version 1: {LIMIT} others are running (reconcile.parallel_steps)"
    assert any(waited in str(entry["MESSAGE"]) for name in names for entry in site.story(name))
