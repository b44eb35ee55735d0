"""Which port a deployment listens on: stable for a name, moved only when somebody holds it."""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass

SOCKET_DIRECTORY = "/run/models"
HOST = "127.0.0.1"
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

    @property
    def speakers(self) -> tuple[str, ...]:
        """The networks whose clients are answered."""
        return (*THIS_HOST, *self.peers)


def socket_path(name: str) -> str:
    """The unix socket of a deployment."""
    return f"{SOCKET_DIRECTORY}/{name}.sock"


def endpoint(address: str, port: int) -> str:
    """An address and a port as URLs and socket units write them."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def url(port: int, address: str = HOST) -> str:
    """The HTTP address of a deployment on this host."""
    return f"http://{endpoint(address, port)}"


def choose_port(name: str, first: int, last: int, taken: Collection[int]) -> int | None:
    """Pick a port of `first`..`last` for a name, the same one whenever it is free; None when all are taken."""
    size = last - first + 1
    start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    for step in range(size):
        port = first + (start + step) % size
        if port not in taken:
            return port
    return None
