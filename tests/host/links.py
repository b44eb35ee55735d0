"""A network of its own for hosts: each has one link to a bridge, and a link can be cut and mended."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAMESPACES = Path("/run/netns")
NETWORK = "10.213.0.0/24"
_CLONE_NEWNET = 0x40000000


class Links:
    """The namespaces of some hosts and one for clients, in which the bridge is; made and removed by `links`."""

    def __init__(self, names: tuple[str, ...]) -> None:
        """Name everything; nothing is made yet."""
        self._prefix = f"test-{os.getpid()}"
        self._names = names
        self.clients = f"{self._prefix}-clients"

    def address(self, name: str) -> str:
        """The address of a host; clients have the last one of the network."""
        return f"10.213.0.{self._names.index(name) + 1}"

    def option(self, name: str) -> str:
        """What systemd-nspawn is told so that a host is behind its link."""
        return f"--network-namespace-path={NAMESPACES / self._namespace(name)}"

    def cut(self, name: str) -> None:
        """Let nothing pass any more, without a word to anybody, as when a cable is pulled out behind a switch."""
        _ip("-n", self.clients, "link", "set", self._port(name), "down")

    def mend(self, name: str) -> None:
        """Undo `cut`."""
        _ip("-n", self.clients, "link", "set", self._port(name), "up")

    def make(self) -> None:
        """Make namespaces, bridge and links."""
        _ip("netns", "add", self.clients)
        _ip("-n", self.clients, "link", "set", "lo", "up")
        _ip("-n", self.clients, "link", "add", "bridge", "type", "bridge")
        _ip("-n", self.clients, "address", "add", "10.213.0.254/24", "dev", "bridge")
        _ip("-n", self.clients, "link", "set", "bridge", "up")
        for name in self._names:
            own = self._namespace(name)
            _ip("netns", "add", own)
            peer = ("peer", "name", "host0", "netns", own)
            _ip("-n", self.clients, "link", "add", self._port(name), "type", "veth", *peer)
            _ip("-n", self.clients, "link", "set", self._port(name), "master", "bridge", "up")
            _ip("-n", own, "address", "add", f"{self.address(name)}/24", "dev", "host0")
            _ip("-n", own, "link", "set", "lo", "up")
            _ip("-n", own, "link", "set", "host0", "up")

    def remove(self) -> None:
        """Remove what `make` made, also half of it."""
        for namespace in (*map(self._namespace, self._names), self.clients):
            subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, check=False)

    def _namespace(self, name: str) -> str:
        return f"{self._prefix}-{name}"

    def _port(self, name: str) -> str:
        return f"to-{name}"


@contextmanager
def links(*names: str) -> Iterator[Links]:
    """Make links for hosts of these names. Meanwhile this thread is among the clients, and all that it starts."""
    made = Links(names)
    try:
        made.make()
        with Path("/proc/thread-self/ns/net").open() as before:
            _enter(NAMESPACES / made.clients)
            try:
                yield made
            finally:
                _set(before.fileno())
    finally:
        made.remove()


def _enter(namespace: Path) -> None:
    with namespace.open() as opened:
        _set(opened.fileno())


def _set(descriptor: int) -> None:
    """Move this thread to a namespace; Python has a function for it from 3.12 on."""
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "cannot enter a network namespace; run as root")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
