"""Where a deployment listens: its unix socket, its address, and its port.

A port is stable for a name. It moves only when another program holds it.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

from reconciler.core.text.urls import bracketed

SOCKET_DIRECTORY = "/run/models"
HOST = "127.0.0.1"
# This host is always among those that are answered: `reconciler check` and the operators ask from here.
THIS_HOST = ("127.0.0.0/8", "::1/128")


@dataclass(frozen=True)
class Listening:
    """Where deployments listen and who may speak to them."""

    address: str = HOST
    peers: tuple[str, ...] = ()
    """Networks (CIDR), beside this host itself."""
    socket_user: str = "root"
    socket_group: str = "root"
    socket_mode: str = "0660"
    public_url: str = ""
    """Where clients elsewhere ask a deployment, with `{name}` and `{port}` for its own; "" where nobody said."""

    def public_address(self, name: str, port: int) -> str | None:
        """The address of a deployment for clients elsewhere; None where the settings name none."""
        return self.public_url.replace("{name}", name).replace("{port}", str(port)) or None

    @property
    def speakers(self) -> tuple[str, ...]:
        """The networks whose clients are answered."""
        return (*THIS_HOST, *self.peers)


def socket_path(name: str) -> str:
    """The path of a deployment's unix socket, such as `/run/models/demo.sock`.

    It has the rights of the settings, and is there in addition to the port.
    """
    return f"{SOCKET_DIRECTORY}/{name}.sock"


def endpoint(address: str, port: int) -> str:
    """An address and a port as URLs and socket units write them."""
    return f"{bracketed(address)}:{port}"


def url(port: int, address: str = HOST) -> str:
    """The HTTP address of a deployment, as the status and the tags tell it."""
    return f"http://{endpoint(address, port)}"


def choose_port(name: str, first: int, last: int, taken: Collection[int]) -> int | None:
    """Pick a port of `first`..`last` for a name, the same one whenever it is free; None when all are taken.

    The search begins at a place that follows from the name, so that a host that lost its state comes to the same ports.
    """
    # A digest, since Python's own hash() is another one in every process.
    size = last - first + 1
    start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    for step in range(size):
        port = first + (start + step) % size
        if port not in taken:
            return port
    return None
