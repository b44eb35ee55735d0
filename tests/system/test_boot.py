"""What happens to the models when the reconciler, D-Bus, systemd or the whole host is stopped and started."""

import re
import shutil
from pathlib import Path

import httpx
import pytest

from tests.host.host import CHECKOUT, CHECKOUT_INSIDE
from tests.host.image import INSTALL_SECONDS
from tests.system.site import Site, code

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

AGENT, RECONCILER = "mlflow-registry-agent.service", "mlflow-reconciler.service"
UNITS = "/etc/systemd/system"
STATE = "/var/lib/mlflow-reconciler"
# The two commands of the page that make an archive.
BACKUPS = re.findall(
    r"^```sh\n(cd /\n.+?)^```", (CHECKOUT / "docs/how-to/backup.md").read_text(), re.MULTILINE | re.DOTALL
)
OF_A_USED_HOST = (
    "etc/mlflow-reconciler",
    STATE.lstrip("/"),
    "var/lib/mlflow-deploy/*/*",
    "etc/systemd/system/model-*",
    "etc/systemd/system/mlflow-*@*",
    "etc/systemd/system/*.wants/model-*",
)


@pytest.fixture(scope="module")
def urls(site: Site) -> dict[str, str]:
    """Addresses of two models that serve; a second version of `moving` is registered."""
    site.register(
        {"name": "moving", "code": code()}, {"name": "staying", "code": code()}, {"name": "moving", "code": code()}
    )
    for name in ("moving", "staying"):
        site.registry.promote(name, 1)
    return {name: site.wait_for(name, "serving", 1)["url"] for name in ("moving", "staying")}


def release(url: str) -> str:
    """Ask for a prediction, with the patience that the start of a server takes; gives the release that answered."""
    parts = {"metadata": (None, "{}", "application/json")}
    answer = httpx.post(f"{url}/predict", files=parts, trust_env=False, timeout=120)
    assert answer.status_code == 200, answer.text
    return answer.headers["Model-Release"].partition(".")[0]


def invocations(site: Site, pattern: str = "model-*") -> dict[str, str]:
    """The running services and sockets of models, with what changes when one of them is started again."""
    kinds = f"'{pattern}.service' '{pattern}.socket'"
    listed = site.host.output(f"systemctl list-units --plain --no-legend --state=active {kinds} | cut -d' ' -f1")
    show = ["systemctl", "show", "--property=InvocationID", "--value"]
    return {unit: site.host.output([*show, unit]) for unit in listed.splitlines()}


def main_pid(site: Site, service: str) -> int:
    """The process id of a service; 0 when it does not run."""
    return int(site.host.output(["systemctl", "show", "--property=MainPID", "--value", service]))


def wait_for_another(site: Site, service: str, pid: int) -> None:
    """Wait until a service runs as another process and is ready."""
    site.host.wait_for(lambda: main_pid(site, service) not in (0, pid) or None, 120, f"another {service} than {pid}")
    site.host.wait_for_unit(service)


def move(site: Site, version: int, before: int) -> None:
    """Promote a version of `moving` and wait until it serves instead of the one before."""
    site.registry.promote("moving", version)
    site.registry.promote("moving", before, "Archived")
    site.wait_for("moving", "serving", version)
    site.settle()


def test_models_serve_while_the_reconciler_is_stopped(site: Site, urls: dict[str, str]) -> None:
    """Predictions are answered, and nothing is restarted when it starts again."""
    site.settle()
    before = invocations(site)
    assert len(before) == 4, before
    site.host.run(["systemctl", "stop", RECONCILER, AGENT])
    assert {name: release(url) for name, url in urls.items()} == {"moving": "moving@1", "staying": "staying@1"}
    assert invocations(site) == before
    site.host.run(["systemctl", "start", RECONCILER])
    site.settle()
    assert {name: release(url) for name, url in urls.items()} == {"moving": "moving@1", "staying": "staying@1"}
    assert invocations(site) == before


def test_a_restart_of_dbus_is_survived(site: Site, urls: dict[str, str]) -> None:
    """The models go on serving; the reconciler is back and notices the next promotion."""
    before, pid = invocations(site), main_pid(site, RECONCILER)
    site.host.run(["systemctl", "restart", "dbus.service"])
    wait_for_another(site, RECONCILER, pid)
    assert "the connection to D-Bus is closed" in site.host.journal(f"--unit={RECONCILER}", "--output=cat")
    assert release(urls["staying"]) == "staying@1"
    assert invocations(site) == before
    move(site, 2, 1)
    assert (release(urls["moving"]), release(urls["staying"])) == ("moving@2", "staying@1")
    assert before.items() >= invocations(site, "model-staying*").items()


def test_a_reexecution_of_systemd_is_survived(site: Site, urls: dict[str, str]) -> None:
    """As after an upgrade of systemd: nothing restarts, and the next promotion is noticed."""
    before = invocations(site)
    site.host.run(["systemctl", "daemon-reexec"])
    assert (release(urls["moving"]), release(urls["staying"])) == ("moving@2", "staying@1")
    assert invocations(site) == before
    move(site, 1, 2)
    assert (release(urls["moving"]), release(urls["staying"])) == ("moving@1", "staying@1")
    assert before.items() >= invocations(site, "model-staying*").items()


def test_an_upgrade_of_the_reconciler_restarts_the_reconciler_only(site: Site) -> None:
    """A checkout with one line changed is another version; the models go on as they are."""
    site.host.run(f"mkdir /root/newer; cd {CHECKOUT_INSIDE}; tar -c --exclude='./.*' . | tar -x -C /root/newer")
    site.host.run("echo '# newer' >>/root/newer/reconciler/__init__.py")
    before, pid = invocations(site), main_pid(site, RECONCILER)
    site.host.run(["/root/newer/dev", "install"], timeout=INSTALL_SECONDS)
    wait_for_another(site, RECONCILER, pid)
    site.settle()
    assert invocations(site) == before
    move(site, 2, 1)
    move(site, 1, 2)


def test_a_killed_agent_and_a_killed_reconciler_come_back(site: Site) -> None:
    """However often; the models do not notice."""
    before = invocations(site)
    for _ in range(2):
        pids = {service: main_pid(site, service) for service in (AGENT, RECONCILER)}
        # systemd may find the control group gone with its first process, and say so.
        site.host.run(["systemctl", "kill", "--signal=KILL", *pids], check=False)
        for service, pid in pids.items():
            wait_for_another(site, service, pid)
    assert site.host.output(["systemctl", "show", "--property=StartLimitIntervalUSec", "--value", AGENT]) == "0"
    assert site.host.output(["systemctl", "show", "--property=StartLimitIntervalUSec", "--value", RECONCILER]) == "0"
    assert invocations(site) == before


def test_a_reconciler_that_hangs_is_restarted_by_systemd(site: Site) -> None:
    """Its watchdog, shortened here, notices; the models do not."""
    before = invocations(site)
    drop_in = f"{UNITS}/{RECONCILER}.d/watchdog.conf"
    site.host.write(drop_in, "[Service]\nWatchdogSec=5\n")
    site.host.run(f"systemctl daemon-reload; systemctl restart {RECONCILER}")
    pid = main_pid(site, RECONCILER)
    site.host.run(["systemctl", "kill", "--signal=STOP", RECONCILER])
    wait_for_another(site, RECONCILER, pid)
    assert "Watchdog timeout" in site.host.journal(f"--unit={RECONCILER}", "--output=cat")
    assert invocations(site) == before
    site.host.run(f"rm -r {UNITS}/{RECONCILER}.d; systemctl daemon-reload; systemctl restart {RECONCILER}")
    site.settle()


def test_a_boot_without_registry_and_without_reconciler_brings_the_active_releases_up(
    site: Site, urls: dict[str, str]
) -> None:
    """Each answers at its address, as the release that was active; nothing else of models runs."""
    before = set(invocations(site))
    site.host.run(["systemctl", "mask", RECONCILER])
    site.host.power_off()
    site.host.boot()
    assert site.host.output(f"systemctl is-active {RECONCILER} || true") == "inactive"
    assert {name: release(url) for name, url in urls.items()} == {"moving": "moving@1", "staying": "staying@1"}
    started = invocations(site)
    assert set(started) == before
    site.host.run(["systemctl", "unmask", RECONCILER])
    site.host.run(["systemctl", "start", RECONCILER])
    site.wait_for("moving", "serving", 1)
    assert not site.registry_status()["reachable"]
    site.settle()
    assert invocations(site) == started


def test_damage_done_while_the_host_was_off_is_repaired_without_the_registry(site: Site, urls: dict[str, str]) -> None:
    """A unit that was deleted and one that was edited, from the last snapshot and the rendered copies."""
    services = sorted(unit for unit in invocations(site) if unit.endswith(".service"))
    texts = {unit: site.host.read(f"{UNITS}/{unit}") for unit in services}
    edited, deleted = services
    site.host.power_off()
    directory = site.host.root / UNITS.lstrip("/")
    (directory / edited).write_text(re.sub(r"ExecStart=.*", "ExecStart=/bin/false", texts[edited]))
    (directory / deleted).unlink()
    site.host.boot()
    for name in ("moving", "staying"):
        site.wait_for(name, "serving", 1)
    site.settle()
    assert {name: release(url) for name, url in urls.items()} == {"moving": "moving@1", "staying": "staying@1"}
    assert {unit: site.host.read(f"{UNITS}/{unit}") for unit in services} == texts
    assert not site.registry_status()["reachable"]


def test_a_boot_in_the_middle_of_a_soak_goes_on_with_the_release_that_had_taken_over(
    site: Site, urls: dict[str, str]
) -> None:
    """It is watched anew; when it fails, the one before it is started again."""
    site.registry.start()
    site.change_settings("70-soak.toml", "[deploy]\nsoak = 600\n")
    site.registry.promote("moving", 2, archive=True)

    def soaks() -> bool | None:
        one = site.statuses()["moving"]
        return (one["reason"], one["active_version"]) == ("soaking", "2") or None

    site.host.wait_for(soaks, 120, "version 2 to be watched")
    site.host.power_off()
    site.host.boot()
    site.registry.start()
    site.host.wait_for(soaks, 120, "version 2 to be watched again")
    assert release(urls["moving"]) == "moving@2"
    site.host.run("systemctl kill --signal=KILL 'model-moving@2*'")
    status = site.wait_for("moving", "degraded", 2)
    assert (status["active_version"], status["reason"]) == ("1", "failed-in-soak")
    assert release(urls["moving"]) == "moving@1"
    site.registry.promote("moving", 1, archive=True)
    site.wait_for("moving", "serving", 1)
    site.host.run("rm /etc/mlflow-reconciler/config.d/70-soak.toml")


@pytest.mark.by_hand
def test_an_idle_model_is_started_by_the_first_request_after_a_boot(site: Site) -> None:
    """The reconciler is not needed for it."""
    site.register({"name": "sleeper", "code": code(), "settings": {"environment": "host", "idle_timeout": "3"}})
    site.registry.promote("sleeper", 1)
    url = site.wait_for("sleeper", "idle", 1)["url"]
    site.host.run(["systemctl", "mask", RECONCILER])
    site.host.power_off()
    site.host.boot()
    idle = "systemctl list-units --no-legend --state=active,activating 'model-sleeper@*'"
    site.host.wait_for(lambda: not site.host.output(idle) or None, 120, "the model to be idle")
    assert release(url) == "sleeper@1"
    site.host.run(["systemctl", "unmask", RECONCILER])
    site.host.run(["systemctl", "start", RECONCILER])
    site.registry.start()
    site.demote("sleeper")


def _empty(root: Path) -> None:
    """Take everything from a host that is off but the installed product."""
    for pattern in OF_A_USED_HOST:
        found = list(root.glob(pattern))
        assert found, pattern
        for path in found:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


@pytest.mark.parametrize("kind", ["small", "whole"])
def test_a_backup_brings_the_same_releases_back_on_an_empty_host(site: Site, urls: dict[str, str], kind: str) -> None:
    """As docs/how-to/backup.md says: at the same addresses, with the audit log; the whole one without the registry."""
    site.settle()
    units, began = set(invocations(site)), site.host.output(f"grep -c began {STATE}/audit/*")
    small, whole = BACKUPS
    site.host.run(["bash", "-c", small if kind == "small" else whole])
    site.host.run(["systemctl", "disable", AGENT, RECONCILER])
    site.host.power_off()
    _empty(site.host.root)
    site.host.boot()
    if kind == "small":
        site.registry.start()
    archive = "/root/inference1.tar.gz" if kind == "small" else "/root/inference1-whole.tar.gz"
    site.host.run(f"tar --extract --gzip --file {archive} --directory / && systemctl daemon-reload")
    site.host.run(["systemctl", "enable", "--now", AGENT, RECONCILER])
    for name in ("moving", "staying"):
        site.wait_for(name, "serving", 1)
    assert site.registry_status()["reachable"] == (kind == "small")
    assert {name: release(url) for name, url in urls.items()} == {"moving": "moving@1", "staying": "staying@1"}
    assert set(invocations(site)) == units
    site.host.run("reconciler history --export >/dev/null")
    assert int(site.host.output(f"grep -c began {STATE}/audit/*")) > int(began)
    site.host.run(["rm", archive])
    if kind == "whole":
        site.registry.start()


def test_after_all_that_the_registry_is_followed_again(site: Site) -> None:
    """A demotion leaves nothing of either model."""
    site.demote("moving", "staying")
    site.settle()
    assert site.host.output(f"ls {UNITS} | grep -E '^(model-|mlflow-.*@)' || true") == ""
