"""The hosts that all system tests stand on."""

from pathlib import Path

import pytest

from tests.host import Host, HostError, Registry
from tests.host.host import BASE

pytestmark = pytest.mark.system


def test_a_host_boots_systemd_and_leaves_nothing_behind() -> None:
    """After a host is removed there is no process, mount, control group or file of it."""

    def mounts_of(name: str) -> list[str]:
        """Other hosts, of other tests, come and go meanwhile."""
        return [line for line in Path("/proc/self/mounts").read_text().splitlines() if name in line]

    with Host("leaves-nothing") as host:
        assert host.output("systemctl is-active dbus.socket systemd-journald") == "active\nactive"
        name = host.name
        assert mounts_of(name)
    assert not mounts_of(name)
    assert not list(BASE.glob(f"{name}*"))
    assert not list(Path("/sys/fs/cgroup").rglob(name))
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if name.encode() in _read(path)]


def test_two_hosts_run_side_by_side() -> None:
    """Neither ports nor control groups nor names of hosts collide."""
    with Host("one") as one, Host("two") as two:
        assert one.output("hostname") == one.name
        assert two.output("hostname") == two.name
        one.run("systemd-run --unit=only-here sleep 1000")
        assert two.run("systemctl is-active only-here", check=False).stdout.strip() == "inactive"
        assert not set(range(*one.ports.model_range)) & set(range(*two.ports.model_range))


def test_a_command_runs_as_an_ordinary_user(bare_host: Host) -> None:
    """`user=` drops every privilege and has the user's own home."""
    bare_host.run("useradd --create-home ana")
    assert bare_host.output('echo "$(id -un) $HOME $(id -Gn)"', user="ana") == "ana /home/ana ana"
    with pytest.raises(HostError, match="Permission denied"):
        bare_host.run("cat /etc/shadow", user="ana")


def test_waiting_in_vain_ends_with_the_journal(bare_host: Host) -> None:
    """A condition that never comes true fails at its deadline and shows what the host did."""
    bare_host.run("echo a-line-of-the-journal | systemd-cat")
    with pytest.raises(HostError, match=r"(?s)the impossible: not within 0 s.*a-line-of-the-journal"):
        bare_host.wait_for(lambda: None, 0.3, "the impossible")


def test_the_machine_itself_is_not_changed(bare_host: Host) -> None:
    """What a host writes, the machine does not have."""
    bare_host.run("touch /etc/written-by-a-host /usr/local/written-by-a-host && rm /etc/debian_version")
    assert not Path("/etc/written-by-a-host").exists()
    assert not Path("/usr/local/written-by-a-host").exists()
    assert Path("/etc/debian_version").exists()


def test_a_registry_runs_in_the_host_and_promotes(host: Host, registry: Registry) -> None:
    """The MLflow server answers on the host's own port."""
    assert host.output(f"systemctl show -p ActiveState --value {'test-mlflow-server.service'}") == "active"
    with pytest.raises(RuntimeError, match="RESOURCE_DOES_NOT_EXIST"):
        registry.promote("nobody", 1)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
