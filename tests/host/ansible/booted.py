"""How Ansible reaches a booted test host, where a real fleet has ssh: it enters the host's namespaces."""

import subprocess
from pathlib import Path

from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = """
name: booted
short_description: enter a booted test host
description: Runs commands in the namespaces of the host's systemd.
options:
  host_pid:
    description: The process id of that systemd, seen from here.
    vars: [{name: host_pid}]
"""


class Connection(ConnectionBase):  # type: ignore[misc]  # Ansible has no types
    """One host."""

    transport = "booted"
    has_pipelining = True

    def _connect(self) -> "Connection":
        self._connected = True
        return self

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Run a shell command as root."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        done = self._run(cmd, in_data)
        return done.returncode, done.stdout, done.stderr

    def put_file(self, in_path: str, out_path: str) -> None:
        """Copy a file to the host."""
        super().put_file(in_path, out_path)
        self._run(f"cat > '{out_path}'", Path(in_path).read_bytes()).check_returncode()

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Copy a file from the host."""
        super().fetch_file(in_path, out_path)
        Path(out_path).write_bytes(self._run(f"cat '{in_path}'", None).stdout)

    def close(self) -> None:
        """Nothing is open."""
        self._connected = False

    def _run(self, command: str, given: bytes | None) -> "subprocess.CompletedProcess[bytes]":
        words = ["/usr/bin/nsenter", "--target", str(self.get_option("host_pid")), "--all", "/bin/sh", "-c", command]
        environment = {
            "PATH": "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": "/root",
            "LC_ALL": "C.UTF-8",
        }
        return subprocess.run(words, input=given, env=environment, capture_output=True, check=False)
