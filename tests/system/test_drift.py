"""Drift: what somebody does to a deployment behind the reconciler's back is mended at once, up to a budget."""

from collections.abc import Iterable, Iterator

import pytest

from tests.host import Layers, Registry, installed_host
from tests.load import Load
from tests.system.site import Site, code

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

SETTINGS = """
[reconcile]
mend_budget = 100
retry_min = 1
retry_max = 5
"""
NAME = "drifting"
REPLAY = {
    "request.json": {"schema": 1, "metadata": {}, "parts": {}},
    "response.json": {"output": [0.5], "diagnosis": "negative"},
}
UNITS = "/etc/systemd/system"
FILES = f"/var/lib/mlflow-deploy/model_deploys/{NAME}/releases/1"
SOCKET = f"model-{NAME}.socket"
PINS = "/var/lib/mlflow-reconciler/pins"
SNAPSHOT = "/run/mlflow-registry-agent/registry.json"
STATUS = "/run/mlflow-reconciler/status.json"


@pytest.fixture(scope="module")
def site(image: Layers) -> Iterator[Site]:
    """A site on which one model serves."""
    with installed_host(image, "drift", settings=SETTINGS) as host:
        registry = Registry(host, host.registry_port)
        registry.start()
        site = Site(host, registry)
        site.serve({"name": NAME, "code": code(), "replay": REPLAY})
        site.settle()
        yield site


@pytest.fixture(scope="module")
def good(site: Site) -> str:
    """How everything is when nothing is going on, not even a verification."""

    def quiet() -> str | None:
        seen = files(site)
        return None if "activating" in seen or "reloading" in seen else seen

    return site.host.wait_for(quiet, 90, "the deployment to come to rest")


@pytest.fixture
def before(site: Site, good: str) -> str:
    """The same, and it is so: a test does not begin in what the one before it left to be mended."""
    wait_until_mended(site, good, "what an earlier test did")
    return good


def server(site: Site) -> str:
    """The unit of the server."""
    (unit,) = site.host.output(f"cd {UNITS}; ls -d model-{NAME}@*.service").splitlines()
    return unit


def files(site: Site) -> str:
    """Everything that there is of the deployment on disk, by its digest, and which units are in which state.

    What vanishes or is half written while it looks is only another answer: is_steady asks again.
    """
    return site.host.output(
        f"cd {UNITS}; ls -d model-{NAME}* mlflow-*@{NAME}* *.wants/model-{NAME}* || true; "
        f"{{ find model-{NAME}* mlflow-*@{NAME}* {FILES} -type f || true; }} | sort | xargs -r sha256sum || true; "
        f"systemctl list-units --plain --no-legend 'model-{NAME}*' 'mlflow-*@{NAME}*' | awk '{{print $1, $2, $3, $4}}'"
    )


def is_steady(site: Site, before: str) -> bool:
    """Whether everything is as it was and nothing is to be done."""
    status = site.statuses()[NAME]
    return status["state"] == "serving" and not status["reason"] and files(site) == before


def wait_until_mended(site: Site, before: str, what: str) -> None:
    """Wait until everything is as it was."""
    site.host.wait_for(lambda: is_steady(site, before) or None, 90, f"{what} to be mended")


DROP_IN = "mkdir /etc/new.d; echo '[Unit]' >/etc/new.d/90.conf; mv /etc/new.d {units}/{unit}.d; {reload}"
RELOAD = "systemctl daemon-reload"
HARMLESS = {
    "an edited server": f"sed -i /^LockPersonality/d {UNITS}/{{server}}; {RELOAD}",
    "a deleted server": f"rm {UNITS}/{{server}}; {RELOAD}",
    "a server with a drop-in": DROP_IN.format(units=UNITS, unit="{server}", reload=RELOAD),
    "an edited socket": f"sed -i s/ListenStream=127/ListenStream=126/ {UNITS}/{SOCKET}; {RELOAD}",
    "a socket with a drop-in": DROP_IN.format(units=UNITS, unit=SOCKET, reload=RELOAD),
    "a deleted slice": f"rm {UNITS}/model-{NAME}.slice",
    "a disabled server": "systemctl disable {server}",
    "a deleted verification": f"rm {UNITS}/mlflow-verify@{NAME}.1.service",
    "a changed artifact": f"echo '# changed' >>{FILES}/model/MLmodel",
    "an additional file": f"touch {FILES}/model/more",
    "a deleted release": f"rm -r {FILES}",
}
# `systemctl stop` fails when the reconciler starts the unit again before it is down: systemd calls the stop cancelled.
RESTARTED = {
    "a stopped server": "systemctl stop {server} || true",
    "a crashed server": "systemctl kill --signal=SEGV {server}",
    "a stopped socket": f"systemctl stop {SOCKET} || true",
    "a deleted socket": f"rm {UNITS}/{SOCKET}; {RELOAD}; systemctl stop {SOCKET} || true",
}


BY_HAND = ("a deleted slice", "a disabled server", "an additional file")
QUICK = ("an edited server", "a server with a drop-in", "a deleted release", "a stopped server", "a stopped socket")
"""For every run."""


def some(whats: Iterable[str]) -> list[object]:
    """Have most of them in longer runs only, and some by hand."""
    longer = {what: pytest.mark.by_hand if what in BY_HAND else pytest.mark.exhaustive for what in whats}
    return [what if what in QUICK else pytest.param(what, marks=longer[what]) for what in whats]


ASKED = "systemctl show --property=InvocationID,MainPID {server} " + SOCKET


@pytest.mark.parametrize("what", some(HARMLESS))
def test_files_are_mended_and_no_request_is_lost(site: Site, before: str, what: str) -> None:
    """Nothing is restarted."""
    unit = server(site)
    started = site.host.output(ASKED.format(server=unit))
    port = int(site.statuses()[NAME]["url"].rpartition(":")[2])
    with Load({"1": {"output": [0.5], "diagnosis": "negative"}}, tcp=("127.0.0.1", port), rate=100) as load:
        load.wait_for_more(10)
        site.host.run(HARMLESS[what].format(server=unit))
        wait_until_mended(site, before, what)
        load.wait_for_more(10)
    assert load.totals.harm() == []
    assert site.host.output(ASKED.format(server=unit)) == started


@pytest.mark.parametrize("what", some(RESTARTED))
def test_what_was_stopped_serves_again(site: Site, before: str, what: str) -> None:
    """At the same address."""
    unit, url = server(site), site.statuses()[NAME]["url"]
    started = site.host.output(ASKED.format(server=unit))
    site.host.run(RESTARTED[what].format(server=unit))
    site.host.wait_for(lambda: site.host.output(ASKED.format(server=unit)) != started or None, 90, f"{what} to be seen")
    wait_until_mended(site, before, what)
    assert site.statuses()[NAME]["url"] == url
    assert site.predict(NAME, {}, {}).status_code == 200


def test_a_change_deep_below_is_found_by_the_periodic_verification(site: Site, before: str) -> None:
    """systemd watches the directories at the top only."""
    settings = "/etc/mlflow-reconciler/config.d/70-often.toml"
    site.host.run(f"echo ' ' >>{FILES}/model/artifacts/replay/response.json")
    assert is_steady(site, files(site))
    site.host.write(settings, "[deploy]\nverify_interval = 5\n")
    wait_until_mended(site, before, "the change")
    site.host.run(["rm", settings])


def server_ended(site: Site) -> None:
    """Have the server end by a kill, and wait until its next start answers."""
    unit = server(site)
    started = site.host.output(ASKED.format(server=unit))
    site.host.run(["systemctl", "kill", "--signal=KILL", unit])
    site.host.wait_for(lambda: site.host.output(ASKED.format(server=unit)) != started or None, 90, "the next start")
    site.host.wait_for(lambda: site.statuses()[NAME]["state"] == "serving" or None, 90, "the server to be back")
    site.host.wait_for_unit(unit, deadline=90)


PIN = f"$(echo {PINS}/{NAME}.1.*)"
# The reconciler may put it back between two commands: a link takes its place at once, a directory is tried again.
HARMED_PINS = {
    "emptied": f"echo -n >{PIN}",
    "a directory": f"pin={PIN}; until rm -f $pin && mkdir -p $pin/more; do :; done",
    "a link": f"pin={PIN}; cp $pin /root/pin; ln -s /root/pin /root/link; mv -T /root/link $pin",
    "unreadable": f"chmod 000 {PIN}",
    "closed": f"chmod 000 {PINS}",
}


def shown(site: Site) -> str:
    """What units are shown of the recorded digests."""
    return site.host.output(f"cd {PINS} && find . -printf '%p %y %m ' -exec sha256sum {{}} ';' 2>&1 | sort", timeout=60)


@pytest.mark.usefixtures("before")
def test_a_server_comes_back_although_the_digests_that_it_is_compared_with_were_removed(site: Site) -> None:
    """They are shown again, before it starts or after it could not; nobody is needed for it."""
    right = shown(site)
    site.host.run(f"rm -r {PINS}")
    server_ended(site)
    assert shown(site) == right
    site.host.run(f"systemctl stop mlflow-reconciler; rm -r {PINS}")
    unit = server(site)
    site.host.run(["systemctl", "kill", "--signal=KILL", unit])
    site.host.wait_for_unit(unit, "failed", deadline=90)
    site.host.run("systemctl start mlflow-reconciler")
    site.wait_for(NAME, "serving", 1)
    assert shown(site) == right
    assert site.predict(NAME, {}, {}).status_code == 200
    site.host.run(["reconciler", "check"])


@pytest.mark.usefixtures("before")
def test_a_digest_that_somebody_changed_is_shown_again(site: Site) -> None:
    """Whatever was put in its place; the files of the model are none of it."""
    right = shown(site)
    for what, harm in HARMED_PINS.items():
        site.host.run(f"{harm}; systemctl reload mlflow-reconciler")
        site.host.wait_for(lambda: shown(site) == right or None, 90, f"what is {what} to be mended")
    server_ended(site)
    site.host.run(["reconciler", "check"])


@pytest.mark.parametrize("directory", ["/run/mlflow-registry-agent", "/run/mlflow-reconciler"])
def test_a_directory_of_ours_that_somebody_removed_is_made_again(site: Site, before: str, directory: str) -> None:
    """By the start that it takes: systemd makes it, and mounts it for the daemon."""
    unit = f"{directory.rpartition('/')[2]}.service"
    starts = ["systemctl", "show", "--property=NRestarts", "--value", unit]
    told = site.host.output(starts)
    # It may notice by itself, and have ended before it is told to look.
    site.host.run(f"rm -r {directory}; systemctl reload mlflow-reconciler || true")
    site.host.wait_for(lambda: site.host.output(starts) != told or None, 90, f"{unit} to be started again")
    site.host.wait_for_unit(unit)
    site.host.wait_for(
        lambda: site.host.run(["test", "-s", SNAPSHOT, "-a", "-s", STATUS], check=False).returncode == 0 or None,
        90,
        "both files",
    )
    wait_until_mended(site, before, "the directory")
    site.host.run(["reconciler", "check"])


def test_a_limit_that_ops_put_on_the_slice_stays(site: Site) -> None:
    """The slice is theirs to limit, whichever release runs."""
    limit = f"{UNITS}/model-{NAME}.slice.d/50-ops.conf"
    site.host.write(limit, "[Slice]\nTasksMax=500\n")
    site.host.run(f"{RELOAD}; systemctl reload mlflow-reconciler")
    assert site.host.run(["reconciler", "plan"]).returncode == 0
    assert site.host.output(["systemctl", "show", "--property=TasksMax", "--value", f"model-{NAME}.slice"]) == "500"
    site.host.run(["rm", "-r", limit.rpartition("/")[0]])


def test_a_masked_unit_suspends_the_deployment(site: Site, before: str) -> None:
    """Whoever masked it is obeyed until it is unmasked."""
    unit = server(site)
    site.host.run(f"ln -sf /dev/null {UNITS}/{unit}; {RELOAD}; systemctl stop {SOCKET} {unit}")
    status = site.wait_for(NAME, "suspended", 1)
    assert status["message"].startswith(f"suspended, because somebody masked {unit}")
    site.host.run(f"rm {UNITS}/{unit}; {RELOAD}")
    wait_until_mended(site, before, "the deployment")


def test_what_is_undone_again_and_again_is_left_to_a_person(site: Site, before: str) -> None:
    """After so many repairs in so many seconds; it says so, and `retry` mends it."""
    site.host.write("/etc/mlflow-reconciler/config.d/70-budget.toml", "[reconcile]\nmend_budget = 3\n")
    unit = server(site)
    damage = f"sed -i /^LockPersonality/d {UNITS}/{unit}; {RELOAD}"

    def stalled() -> bool:
        if files(site) == before:
            site.host.run(damage)
        return bool(site.statuses()[NAME]["state"] == "stalled")

    site.host.wait_for(lambda: stalled() or None, 120, "the budget to be used up")
    message = site.statuses()[NAME]["message"]
    assert message.startswith(f"cannot keep {NAME} as it should be: something undoes every repair (the last: restored ")
    assert message.endswith(f"reconciler retry {NAME}")
    assert site.predict(NAME, {}, {}).status_code == 200
    site.host.run(["systemctl", "restart", "mlflow-reconciler"], timeout=60)
    assert site.statuses()[NAME]["state"] == "stalled"
    site.host.run(["reconciler", "retry", NAME], timeout=60)
    wait_until_mended(site, before, "the deployment")


def test_another_registry_removes_nothing_until_it_is_confirmed(site: Site) -> None:
    """A wrong address in the settings must not empty the host."""
    site.serve({"name": "second", "code": code()})
    site.host.run(["systemctl", "stop", "mlflow-registry-agent"])
    site.registry.promote("second", 1, "Archived")
    setting = "/etc/mlflow-reconciler/config.d/80-registry.toml"
    other = site.registry.uri.replace("127.0.0.1", "localhost")
    site.host.write(setting, f"[registry]\nuri = '{other}'\n")
    site.host.run(["systemctl", "start", "mlflow-registry-agent"])
    status = site.wait_for("second", "held")
    assert f"it is not selected by the registry at {other}" in status["message"]
    assert f"but came from the registry at {site.registry.uri}" in status["message"]
    assert site.predict("second", {}, {}).status_code == 200
    assert site.statuses()[NAME]["state"] == "serving"
    site.host.run(["reconciler", "apply", "--confirm-prune"], timeout=60)
    site.wait_until_gone("second")
