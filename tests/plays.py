"""Runs a documented play on booted test hosts."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.documents.pages import CHECKOUT
from tests.host.host import Host

PLAYBOOK = Path("/usr/bin/ansible-playbook")


def play(
    file: Path, hosts: Mapping[str, Host], place: Path, *arguments: str, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Run a play on all hosts, by their names in the inventory, whatever comes of it. `place` takes its files."""
    lines = "".join(f"{name} host_pid={host.init}\n" for name, host in hosts.items())
    inventory = place / "inventory.ini"
    inventory.write_text(f"[all]\n{lines}[all:vars]\nansible_connection=booted\n")
    told = [word for key, value in variables.items() for word in ("-e", f"{key}={value}")]
    return subprocess.run(
        [str(PLAYBOOK), "-i", str(inventory), str(file), *told, *arguments],
        env={
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(place),
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_CONNECTION_PLUGINS": str(CHECKOUT / "tests/host/ansible"),
            "ANSIBLE_LOCALHOST_WARNING": "false",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
