"""New hosts by Ansible and by cloud-init, and what a Flight Control fleet gives its devices, as docs/fleet has them."""

import hashlib
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from reconciler.settings.load import load
from tests.balancers import RECIPES
from tests.documents.pages import CHECKOUT
from tests.host import Host
from tests.host.registry import AUTH_SETTINGS, STATE
from tests.mlflow_server import free_port, mlflow_server
from tests.plays import PLAYBOOK, play
from tests.system.site import Site, code

pytestmark = [pytest.mark.system, pytest.mark.exhaustive, pytest.mark.timeout(1800)]

# Ansible would take a part of it for a comment of a template.
PASSWORD = "a password {#of#} the registry"  # noqa: S105 - of this test's own server
CREDENTIALS = {"registry.username": "admin", "registry.password": PASSWORD}
LEFT = "ls -d /opt/mlflow-reconciler /etc/mlflow-reconciler /etc/credstore /var/cache/mlflow-systemd.deb"
SERVICES = "systemctl is-active mlflow-reconciler mlflow-registry-agent"
EXAMPLE = "https://mlflow.example.org"
MODES = "stat -c '%a %U' /etc/credstore /etc/credstore/registry.password"


@pytest.fixture(scope="module")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the package, as a site does."""
    directory = tmp_path_factory.mktemp("package")
    subprocess.run([str(CHECKOUT / "dev"), "package", "--to", str(directory)], check=True, timeout=1800)
    [found] = directory.glob("*.deb")
    return found


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a registry that wants the login; hosts reach it, and `reconciler check` finds a fault where one cannot."""
    directory = tmp_path_factory.mktemp("registry")
    (directory / "auth.ini").write_text(AUTH_SETTINGS.replace(f"/var/lib/{STATE}", str(directory)))
    environment = {
        "MLFLOW_AUTH_CONFIG_PATH": str(directory / "auth.ini"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "of the test",
        "PYTHONPATH": str(CHECKOUT / "tests/host/stand_ins"),
    }
    with mlflow_server(directory, None, "--app-name", "basic-auth", environment=environment) as address:
        yield address


@pytest.mark.skipif(not PLAYBOOK.exists(), reason="needs Debian's package ansible-core")
def test_a_play_installs_a_host_and_changes_nothing_the_second_time(deb: Path, uri: str, tmp_path: Path) -> None:
    """Check mode before it leaves no trace. What Ansible prints has no password in it."""
    secrets = tmp_path / "secrets.yml"
    told = ", ".join(f'{name}: !unsafe "{value}"' for name, value in CREDENTIALS.items())
    secrets.write_text(f"mlflow_systemd_credentials: {{{told}}}\n")
    about = {"mlflow": uri, "mlflow_systemd_package": str(deb), "ansible_become": "false"}
    with Host("play") as host:
        # As on a host that has asked its mirror today.
        host.run("install -D /dev/null /var/lib/apt/periodic/update-success-stamp")

        def changes(*arguments: str) -> int:
            install = RECIPES / "install.yml"
            done = play(install, {"ward": host}, tmp_path, "-e", f"@{secrets}", "--diff", *arguments, **about)
            said = done.stdout + done.stderr
            assert done.returncode == 0, said
            assert PASSWORD not in said
            [counted] = re.findall(r"^ward .*changed=(\d+) ", said, re.M)
            return int(counted)

        before = host.run(LEFT, check=False).stdout
        assert changes("--check") > 0
        assert host.run(LEFT, check=False).stdout == before
        assert changes() > 0
        assert changes() == 0
        assert changes("--check") == 0
        assert host.output(MODES).splitlines() == ["700 root", "600 root"]
        assert host.output(SERVICES).split() == ["active", "active"]


def test_a_new_host_installs_itself_at_its_first_boot(deb: Path, uri: str) -> None:
    """By cloud-init itself, from the address that the operator serves; a package with another digest is left alone."""
    with served(deb.parent) as place, Host("cloud") as host:
        install = "apt-get install -qq --yes --no-install-recommends cloud-init"
        if host.run(install, check=False, timeout=300).returncode != 0:
            pytest.skip("needs Debian's package cloud-init, installed into the host of the test")
        data = (RECIPES / "cloud-init.yml").read_text()
        for told, meant in {
            EXAMPLE: uri,
            "content: ward": "content: admin",
            "the password of ward": PASSWORD,
            "https://files.example.org/mlflow-systemd_0.1.0-1~debian12_amd64.deb": f"{place}/{deb.name}",
        }.items():
            assert told in data
            data = data.replace(told, meant)
        assert "status: error" in first_boot(host, data)
        assert "Hash Sum mismatch" in host.read("/var/log/cloud-init-output.log")
        assert host.run("test -e /opt/mlflow-reconciler", check=False).returncode == 1
        with deb.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        assert "0" * 64 in data
        said = first_boot(host, data.replace("0" * 64, digest))
        assert "status: done" in said, said + host.read("/var/log/cloud-init-output.log")
        assert host.output(SERVICES).split() == ["active", "active"]
        assert host.output(MODES).splitlines() == ["700 root", "600 root"]


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """Serve the files of a directory; gives its address."""
    port = free_port()
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(directory), str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def first_boot(host: Host, data: str) -> str:
    """Boot a host as a new one that finds this user-data beside it; gives what cloud-init says in the end."""
    host.write("/var/lib/cloud/seed/nocloud/user-data", data)
    host.write("/var/lib/cloud/seed/nocloud/meta-data", "instance-id: test\nlocal-hostname: new-host\n")
    host.run("cloud-init schema --config-file /var/lib/cloud/seed/nocloud/user-data")
    # The network is this machine's, and other locales than this one may not be there.
    about = "network: {config: disabled}\ndatasource_list: [NoCloud, None]\nlocale: C.UTF-8\n"
    host.write("/etc/cloud/cloud.cfg.d/99-test.cfg", about)
    host.run("cloud-init clean --logs")
    # Tests hide what the machine has enabled, and with it what the package has just enabled.
    host.run("systemctl enable cloud-init-local cloud-init cloud-config cloud-final")
    host.power_off()
    host.boot()
    return host.run("cloud-init status --wait --long", check=False, timeout=600).stdout


def given(ring: str) -> dict[str, str]:
    """Give the files that the fleet has on a device with this label, by the names that end their paths."""
    fleet = yaml.safe_load((RECIPES / "flightctl.yml").read_text())
    [files] = [one["inline"] for one in fleet["spec"]["template"]["spec"]["config"]]
    optional = re.compile(r'{{ if ne \.metadata\.labels\.ring "canary" }}\n(.*?){{ end }}\n', re.DOTALL)
    kept = "" if ring == "canary" else r"\1"
    return {Path(file["path"]).name: optional.sub(kept, file["content"]) for file in files}


def run_hook(site: Site, version: int) -> "subprocess.CompletedProcess[str]":
    """Run it as the agent does: its words, without a shell and without an environment."""
    [action] = yaml.safe_load(given("canary")["50-mlflow-systemd.yaml"])
    told = re.sub(r"(?<=--version )4\b", str(version), action["run"])
    return site.host.run(["env", "--ignore-environment", *shlex.split(told)], check=False, timeout=600)


@pytest.mark.by_hand
def test_the_hook_of_a_fleet_ends_as_the_version_does(site: Site) -> None:
    """A rejection is its failure, with the reason where the agent looks for it; and the way back does not wait long."""
    site.change_settings("90-fleet.toml", given("canary")["site.toml"].replace(EXAMPLE, site.registry.uri))
    good = site.register({"name": "pauses", "code": code()})["pauses"]
    site.registry.promote("pauses", good)
    done = run_hook(site, good)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    bad = site.register({"name": "pauses", "code": code(on_load="raise RuntimeError('a broken model')")})["pauses"]
    site.registry.promote("pauses", bad, archive=True)
    for version in (bad, good):
        done = run_hook(site, version)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"version {bad} of pauses is rejected on this host: " in done.stderr
        assert "a broken model" in done.stderr
    done = run_hook(site, bad + 1)
    assert done.returncode == 1, done.stderr


def test_the_other_devices_of_a_fleet_wait_for_the_canary(tmp_path: Path) -> None:
    """By their settings."""
    (tmp_path / "config.toml").write_text(given("ward")["site.toml"])
    assert load(tmp_path / "config.toml").rollout.after == ("canary-1",)
