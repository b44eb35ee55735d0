"""The network of a cluster: a namespace for its node, and one link from there to this machine."""

import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NAMESPACES = Path("/run/netns")
LOCKS = Path("/run/mlflow-systemd-test-clusters")
MOST = 10
"""Clusters at the same time on one machine."""


@dataclass(frozen=True)
class Network:
    """The addresses of the cluster with a number; `network` makes and removes it."""

    number: int

    @property
    def outside(self) -> str:
        """This machine's address, as the node and its pods reach it."""
        return f"10.214.{self.number}.1"

    @property
    def node(self) -> str:
        """The node's address, as this machine and the pods reach it."""
        return f"10.214.{self.number}.2"

    @property
    def pods(self) -> str:
        """The addresses of pods; this machine has a route there."""
        return f"10.215.{self.number}.0/24"

    @property
    def services(self) -> str:
        """The addresses of services; this machine has a route there."""
        return f"10.216.{self.number}.0/24"

    @property
    def api_service(self) -> str:
        """The address of the API server's own service, which is always the first."""
        return f"10.216.{self.number}.1"

    @property
    def option(self) -> str:
        """What systemd-nspawn is told so that the node is in this network."""
        return f"--network-namespace-path={NAMESPACES / self._namespace}"

    @property
    def _namespace(self) -> str:
        return f"test-cluster-{self.number}"

    @property
    def _link(self) -> str:
        return f"cluster{self.number}"

    def make(self) -> None:
        """Make the namespace, the link and the routes."""
        own = self._namespace
        _ip("netns", "add", own)
        _ip("link", "add", self._link, "type", "veth", "peer", "name", "host0", "netns", own)
        _ip("address", "add", f"{self.outside}/24", "dev", self._link)
        _ip("link", "set", self._link, "up")
        _ip("-n", own, "address", "add", f"{self.node}/24", "dev", "host0")
        _ip("-n", own, "link", "set", "lo", "up")
        _ip("-n", own, "link", "set", "host0", "up")
        _ip("-n", own, "route", "add", "default", "via", self.outside)  # kubelet and kube-proxy look for one
        for far in (self.pods, self.services):
            _ip("route", "add", far, "via", self.node)

    def remove(self) -> None:
        """Remove what `make` made, also half of it."""
        # The link first: the namespace lives on for a while where a process of the node still ends.
        subprocess.run(["ip", "link", "delete", self._link], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "delete", self._namespace], capture_output=True, check=False)


@contextmanager
def network() -> Iterator[Network]:
    """Make the network of the first number that no other process has, and remove it in the end."""
    lock, number = _first_free()
    made = Network(number)
    try:
        made.remove()  # what a killed process left
        made.make()
        yield made
    finally:
        made.remove()
        os.close(lock)


def _first_free() -> tuple[int, int]:
    LOCKS.mkdir(parents=True, exist_ok=True)
    for number in range(MOST):
        descriptor = os.open(LOCKS / f"{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        return descriptor, number
    raise RuntimeError(f"cannot make another cluster: {MOST} run already; end one of them")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
