"""A model that makes systemd, and with it the reconciler, hear more than they can bear; and many promotions at once."""

from collections.abc import Iterator

import httpx
import pytest

from tests.host import Layers, Registry, installed_host
from tests.system.site import Site, code
from tests.system.steady import Steady

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

SETTINGS = "[reconcile]\nretry_min = 1\nretry_max = 5\nparallel_steps = 3\n"
RECONCILER = "mlflow-reconciler.service"
MEBIBYTE = 1024
"""In the units of /proc."""
GROWTH = 150 * MEBIBYTE
"""Far more than the reconciler needs for anything here, far less than what a flood would take of it."""
SECONDS = 20
"""For which a model floods, unless it is ended."""
FLOODS = {
    "its status line": ["STATUS=answering {number}"],
    "long status lines": ["STATUS={number}" + "x" * 3000],
    "its state": ["RELOADING=1", "READY=1\\nSTATUS={number}"],
    "a process": ["MAINPID={process}", "ERRNO={number}"],
}
"""What it sends again and again."""
QUIET_FLOODS = {"its watchdog": ["WATCHDOG=1"], "files": ["FDSTORE=1\\nFDNAME=x", "EXTEND_TIMEOUT_USEC=1"]}
"""Those of which systemd tells nobody."""
FLOODER = """
import os
import socket
import threading
import time

import mlflow
from mlflow.pyfunc import PythonModel

def flood(lines):
    end = time.monotonic() + {seconds}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.connect("/run/systemd/notify")
        number = 0
        while time.monotonic() < end:
            for line in lines:
                number += 1
                notify.send(line.format(number=number, process=os.getpid()).encode())

class Flooder(PythonModel):
    def predict(self, context, model_input, params=None):
        lines = model_input[0].get("flood")
        if lines:
            threading.Thread(target=flood, args=(lines,), daemon=True).start()
        return [0.5], "negative"

mlflow.models.set_model(Flooder())
""".replace("{seconds}", str(SECONDS))


@pytest.fixture(scope="module")
def site(image: Layers) -> Iterator[Site]:
    """A site on which one model floods when it is asked to, beside three that do nothing wrong."""
    with installed_host(image, "floods", settings=SETTINGS) as host:
        registry = Registry(host, host.registry_port)
        registry.start()
        site = Site(host, registry)
        neighbours = [{"name": f"neighbour{number}", "code": code()} for number in range(3)]
        others = [{"name": f"other{number}", "code": code()} for number in range(len(FLOODS) + len(QUIET_FLOODS))]
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


def have_it_flood(site: Site, lines: list[str]) -> None:
    """Ask the model to; it answers, and then does."""
    said = [line.replace("\\n", "\n") for line in lines]
    assert site.predict("flooder", {"flood": said}, {}).status_code == 200


def kills(site: Site) -> int:
    """How often it was told, in the story of the model, that it was killed and why."""
    told = [str(entry["MESSAGE"]) for entry in site.story("flooder")]
    why = "it changed its state or its status line more than 100 times within 5 s"
    return sum(line.startswith("kill model-flooder@") and line.endswith(why) for line in told)


@pytest.mark.parametrize("number", range(len(FLOODS) + len(QUIET_FLOODS)), ids=[*FLOODS, *QUIET_FLOODS])
def test_a_flood_takes_neither_memory_nor_time_of_others(site: Site, number: int) -> None:
    """Another model is promoted and serves meanwhile, the neighbours answer; what systemd tells of is ended."""
    lines = [*FLOODS.values(), *QUIET_FLOODS.values()][number]
    loud = number < len(FLOODS)
    before, told, (unit, started) = memory(site), kills(site), server(site)
    neighbours = [Steady(site.statuses()[f"neighbour{one}"]["url"], ([0.5], "negative")) for one in range(3)]
    try:
        have_it_flood(site, lines)
        site.registry.promote(f"other{number}", 1)
        if loud:
            site.host.wait_for(lambda: server(site) != (unit, started) or None, 90, f"{unit} to be killed")
        site.wait_for(f"other{number}", "serving", 1)
        for one in neighbours:
            with one.unharmed(site.host):
                pass
    finally:
        for one in neighbours:
            one.stop()
    assert memory(site) - before < GROWTH
    assert kills(site) >= told + 1 if loud else kills(site) == told
    site.host.wait_for(lambda: answers(site) or None, 90, "the flooder to answer again")


def answers(site: Site) -> bool:
    """Whether the flooder does."""
    try:
        return site.predict("flooder", {}, {}).status_code == 200
    except httpx.HTTPError:
        return False  # it is being started
