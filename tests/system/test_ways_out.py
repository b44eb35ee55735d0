"""What a model leaves on its host is seen by nobody, takes nothing from anybody, and is gone when the model is."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.host import Layers, Registry, installed_host
from tests.host.host import CHECKOUT_INSIDE
from tests.system.conftest import SETTINGS
from tests.system.site import PYTHON, Site, code

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

LEFT = Path(__file__).with_name("left.py")
MARK = "metadata-51b7e2"
LEAVER = f"""{LEFT.read_text().partition("if __name__")[0]}
import shutil
import mlflow
from mlflow.pyfunc import PythonModel

class Leaver(PythonModel):
    def predict(self, context, model_input, params=None):
        what, target = model_input["what"][0], model_input["target"][0]
        return [json.dumps(getattr(self, what)(target))]

    def leave(self, mark):
        return leave(mark)

    def fill(self, directory):
        why = ""
        try:
            with open(directory + "/full", "ab") as file:
                for _ in range(256):
                    file.write(bytes(1024 * 1024))
        except OSError as error:
            why = os.strerror(error.errno)
        return [why, shutil.disk_usage(directory).total, shutil.disk_usage(directory).free]

    def empty(self, directory):
        os.unlink(directory + "/full")

    def flood(self, lines):
        for number in range(int(lines)):
            print("<%d>%s" % (number % 8, os.urandom(22_500).hex()))

    def share(self, _target):
        import multiprocessing
        context = multiprocessing.get_context("fork")
        value, queue = context.Value("i", 0), context.Queue()
        process = context.Process(target=lambda: (queue.put(value.get_lock().acquire()), value.get_lock().release()))
        process.start()
        return queue.get(timeout=30)

mlflow.models.set_model(Leaver())
"""
MEMORY = 256 * 1024**2
TEMP = MEMORY // 4
JOURNAL = 100 * 1024**2
FLOOD = 6_000
"""Lines of 45 kB, more than the journal keeps."""
AT_MOST = 5 * 6 * 100
"""Lines an hour: of five groups of priorities, six times as many on the largest of disks."""


@pytest.fixture(scope="module")
def site(image: Layers) -> Iterator[Site]:
    """A site whose kernel has keys for its programs, with a small journal, with a model that does as it is told."""
    settings = f"{SETTINGS}[deploy]\nmemory_max = '{MEMORY}'\n"
    with installed_host(image, "ways", settings=settings, nspawn_options=["--system-call-filter=@keyring"]) as host:
        small = f"[Journal]\nSystemMaxUse={JOURNAL}\nRuntimeMaxUse={JOURNAL}\n"
        host.write("/etc/systemd/journald.conf.d/small.conf", small)
        host.run("systemctl restart systemd-journald && useradd bob")
        registry = Registry(host, host.registry_port)
        registry.start()
        site = Site(host, registry)
        site.serve({"name": "leaver", "code": LEAVER}, {"name": "neighbour", "code": code()})
        site.register({"name": "later", "code": code()})
        yield site


def told(site: Site, what: str, target: object, name: str = "leaver") -> object:
    """What comes of it when the model is told to do something."""
    body = {"dataframe_split": {"columns": ["what", "target"], "data": [[what, str(target)]]}}
    url = f"{site.statuses()[name]['url']}/invocations"
    answer = httpx.post(url, json=body, timeout=120, trust_env=False)
    assert answer.status_code == 200, answer.text
    return json.loads(answer.json()["predictions"][0])


def found(site: Site, mark: str) -> list[str]:
    """What an ordinary user of the host sees of a mark."""
    program = [PYTHON, "-I", f"{CHECKOUT_INSIDE}/tests/system/{LEFT.name}", "find", mark]
    seen: list[str] = json.loads(site.host.output(program, user="ada"))
    return seen


def test_nobody_sees_what_a_model_leaves(site: Site) -> None:
    """Another user's program leaves eleven marks that everybody sees; a model leaves none, in none of these ways."""
    said = "/root/left"
    program = f"{PYTHON} -I {CHECKOUT_INSIDE}/tests/system/{LEFT.name} leave control-77aa01"
    site.host.run(f"systemd-run --quiet --unit=control --uid=bob --property=StandardOutput=truncate:{said} {program}")
    site.host.wait_for(lambda: site.host.run(f"cat {said}", check=False).stdout or None, 60, "the marks")
    ways = json.loads(site.host.read(said))
    assert len(ways) == 11
    assert found(site, "control-77aa01") == sorted(ways)
    site.host.run("systemctl stop control")

    done = told(site, "leave", MARK)
    assert isinstance(done, list)
    assert {"/tmp", "/dev/shm", "segment", "queue"} <= set(done), "it can, and is alone with it"  # noqa: S108 - its own
    assert found(site, MARK) == []
    # Root alone finds it, in the one place where a server's files are.
    places = "/tmp /var/tmp /dev/shm /dev/mqueue /run"  # noqa: S108 - of the host
    seen = site.host.run(f"grep -rls {MARK} {places}", check=False).stdout.splitlines()
    assert [path for path in seen if not path.startswith("/run/mlflow-temp/")] == []
    assert site.host.run("ls /run/mlflow-temp", user="ada", check=False).returncode


def test_processes_of_a_model_share_memory(site: Site) -> None:
    """With semaphores and queues of their own, as the libraries of models do."""
    assert told(site, "share", "") is True


def test_a_model_that_fills_its_temporary_files_takes_room_from_nobody(site: Site) -> None:
    """In each of its directories it is told that there is no room, in the size that it was given; others go on."""
    room = site.host.output("df --output=avail,iavail /tmp /var/tmp /dev/shm")
    for directory in ("/tmp", "/dev/shm"):  # noqa: S108 - its own
        assert told(site, "fill", directory) == ["No space left on device", TEMP, 0]
    other = "/var/tmp"  # noqa: S108 - its own, and /tmp by another name
    assert told(site, "fill", other) == ["No space left on device", TEMP, 0]
    assert site.host.output("df --output=avail,iavail /tmp /var/tmp /dev/shm") == room
    site.registry.promote("later", 1)
    site.wait_for("later", "serving", 1)
    assert "negative" in site.predict("neighbour", {}, {}).text
    for directory in ("/tmp", "/dev/shm"):  # noqa: S108 - its own
        told(site, "empty", directory)


def test_temporary_files_go_with_the_server(site: Site) -> None:
    """Those of a crashed one before the next starts; and those of a stopped one with their file system."""
    (unit,) = site.host.output("systemctl list-units --plain --no-legend 'model-leaver@*' | cut -d' ' -f1").split()
    before = site.host.output(f"systemctl show -P MainPID {unit}")
    assert told(site, "fill", "/tmp") == ["No space left on device", TEMP, 0]  # noqa: S108 - its own
    site.host.run(f"systemctl kill --signal=KILL {unit}")
    main = f"systemctl show -P MainPID {unit}"
    site.host.wait_for(lambda: site.host.output(main) not in ("0", before) or None, 60, "the next server")
    site.wait_for("leaver", "serving", 1)
    assert told(site, "fill", "/tmp") == ["No space left on device", TEMP, 0]  # noqa: S108 - its own
    assert site.host.output("ls /run/mlflow-temp").count("model-later@") == 1
    site.demote("later")
    site.host.wait_for(lambda: "model-later@" not in site.host.output("ls /run/mlflow-temp") or None, 60, "its end")


def test_the_reconciler_needs_no_room_in_the_hosts_temporary_files(site: Site) -> None:
    """Not for any step of a whole deployment, and not for its own start."""
    fill = "mount -o remount,size=8M $one; head -c 9M /dev/zero >$one/full || true"
    site.host.run(f"for one in /tmp /var/tmp; do {fill}; done")
    assert site.host.run("echo more >/tmp/more", check=False).returncode
    try:
        site.host.run("systemctl restart mlflow-reconciler", timeout=120)
        site.registry.promote("later", 1)
        site.wait_for("later", "serving", 1)
        site.demote("later")
    finally:
        site.host.run("for one in /tmp /var/tmp; do mount -o remount,size=1G $one; rm -f $one/full $one/more; done")


def lines_of(site: Site, *options: str) -> int:
    """How many entries the journal has."""
    return int(site.host.output(["journalctl", "--no-pager", "--output=json", *options]).count("__CURSOR"))


def test_a_model_that_floods_the_journal_pushes_nothing_out_of_it(site: Site) -> None:
    """Its own lines are limited; what was there before is there afterwards, and it answers, and fails, in words."""
    reconciler = "--unit=mlflow-reconciler"
    oldest = "journalctl --no-pager --output=export | grep --max-count=1 __CURSOR || true"
    before, first = lines_of(site, reconciler), site.host.output(oldest)
    assert before > 10
    told(site, "flood", FLOOD)
    site.host.run("journalctl --sync")
    kept = int(
        site.host.output("journalctl --no-pager --output=export SYSLOG_IDENTIFIER=model-leaver | grep -c __CURSOR")
    )
    assert 0 < kept <= AT_MOST
    assert lines_of(site, reconciler) >= before
    assert site.host.output(oldest) == first
    site.registry.promote("later", 1)
    site.wait_for("later", "serving", 1)
    assert lines_of(site, reconciler) > before
