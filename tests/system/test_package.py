"""The deb, installed without a network, upgraded under load, removed, installed again and purged; and the bundle."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.host import Host, Registry
from tests.host.host import CHECKOUT
from tests.host.installed import configure
from tests.host.registry import prepare_registry
from tests.system.site import Site, code
from tests.system.steady import Steady
from tests.system.test_install import LISTING

pytestmark = [pytest.mark.system, pytest.mark.exhaustive, pytest.mark.timeout(1800)]

SETTINGS = "/etc/mlflow-reconciler/config.toml"
NAME = "mlflow-systemd"
REQUIREMENTS = ["mlflow-skinny==3.17.2", "pandas"]


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of the deb; the second differs in its number and in a page of the documents."""
    directory = tmp_path_factory.mktemp("packages")
    build = [str(CHECKOUT / "dev"), "package", "--version", "1.0", "--to", str(directory / "built")]
    subprocess.run(build, check=True, timeout=1800)
    first = deb(directory)
    tree = directory / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", first, tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(control.read_text().replace("\nVersion: 1.0-", "\nVersion: 1.1-"))
    with (tree / "usr/lib/mlflow-systemd/docs/style.md").open("a") as page:
        page.write("\nAnother version.\n")
    (tree / "DEBIAN/md5sums").unlink(missing_ok=True)
    subprocess.run(["dpkg-deb", "-Zgzip", "-z1", "--build", tree, directory / "second.deb"], check=True)
    shutil.rmtree(tree)
    return directory


def deb(packages: Path) -> Path:
    """The first of them, as it was built."""
    [found] = (packages / "built").glob("*.deb")
    return found


@pytest.fixture(scope="module")
def host(packages: Path) -> Iterator[Host]:
    """A host that has the two files."""
    with Host("packaged", nspawn_options=[f"--bind-ro={packages}:/mnt/packages"]) as booted:
        yield booted


def dpkg(host: Host, *arguments: str) -> None:
    """Run dpkg where no network is, not even the loopback."""
    host.run(["unshare", "--net", "dpkg", *arguments], timeout=600)


def listing(host: Host) -> set[str]:
    """List all that an installation could leave; dpkg's lists and the caches of the machine below are no part of it."""
    lines = host.output(LISTING, timeout=300).splitlines()
    return {line for line in lines if "/var/lib/dpkg" not in line and not line.startswith("/root/.cache")}


def runs(host: Host) -> list[dict[str, Any]]:
    """Return what the history has of the one deployment."""
    document = json.loads(host.output("reconciler history demo --json"))
    found: list[dict[str, Any]] = document["runs"]
    return found


def test_a_package_goes_its_whole_way(host: Host, packages: Path) -> None:
    """From the first installation to the last trace."""
    before = listing(host)
    dpkg(host, "--install", f"/mnt/packages/built/{deb(packages).name}")
    assert host.output("systemctl is-active mlflow-reconciler mlflow-registry-agent").split() == ["active", "active"]
    configure(host)
    prepare_registry(host)
    registry = Registry(host, host.registry_port)
    registry.start()
    site = Site(host, registry)
    site.serve({"name": "demo", "code": code()})
    pid = ["systemctl", "show", "--value", "--property=MainPID", site.servers("demo")[0]]
    first = host.output(pid)
    shipped = host.read(SETTINGS)
    host.write(SETTINGS, shipped + "# mine\n")
    client = Steady(site.statuses()["demo"]["url"], ([0.5], "negative"))
    try:
        with client.unharmed(host):
            dpkg(host, "--install", "/mnt/packages/second.deb")
    finally:
        client.stop()
    assert host.output(pid) == first
    assert host.read(SETTINGS).endswith("# mine\n")
    assert "Another version." in host.read("/opt/mlflow-reconciler/docs/style.md")
    [run] = runs(host)
    dpkg(host, "--remove", NAME)
    assert host.run("test -e /opt/mlflow-reconciler", check=False).returncode == 1
    assert host.read(SETTINGS).endswith("# mine\n")
    dpkg(host, "--install", "/mnt/packages/second.deb")
    site.wait_for("demo", "serving")
    assert run["began"] in [one["began"] for one in runs(host)]
    registry.stop()
    dpkg(host, "--purge", NAME)
    host.run("userdel --remove ada; rm -rf /var/lib/test-mlflow-server /usr/local/share/test-mlflow-server.db")
    host.run("rm -rf /var/lib/private/test-mlflow-server")
    assert sorted(listing(host) ^ before) == []


def test_a_bundle_is_all_that_a_site_without_internet_needs(host: Host, packages: Path) -> None:
    """A version whose packages are in it serves; one that needs another is rejected with that package's name."""
    import mlflow

    saved = packages / "saved"
    (packages / "demo.py").write_text(code())
    mlflow.pyfunc.save_model(saved, python_model=str(packages / "demo.py"), pip_requirements=REQUIREMENTS)
    make = [str(CHECKOUT / "dev"), "bundle", "--packages", str(packages / "built"), "--to", str(packages), str(saved)]
    subprocess.run(make, check=True, timeout=1800)
    host.run("cd /root && tar -xf /mnt/packages/mlflow-systemd-offline_1.0-*.tar", timeout=300)
    host.run("unshare --net /root/mlflow-systemd-offline_1.0-*/install", timeout=600)
    configure(host)
    prepare_registry(host)
    registry = Registry(host, host.registry_port)
    registry.start()
    site = Site(host, registry)
    as_model = {"environment": "model"}
    site.serve({"name": "demo", "code": code(), "requirements": REQUIREMENTS, "settings": as_model})
    assert len(host.output("ls /var/lib/mlflow-deploy/environments").split()) == 1
    more = {"name": "demo", "code": code(), "requirements": [*REQUIREMENTS, "cowsay==6.1"], "settings": as_model}
    version = site.register(more)["demo"]
    site.registry.promote("demo", version)
    rejected = site.wait_for("demo", "degraded", version)
    assert "cowsay was not found" in rejected["message"], rejected
    assert rejected["active_version"] == "1"


def test_lintian_finds_nothing(packages: Path) -> None:
    """But what is overridden, with its reason."""
    if not shutil.which("lintian"):
        pytest.skip("needs Debian's package lintian")
    done = subprocess.run(["lintian", deb(packages)], capture_output=True, text=True, check=False)
    assert [line for line in done.stdout.splitlines() if line.startswith(("E:", "W:"))] == []
