"""Which port a deployment listens on: stable for a name, moved only when somebody holds it."""

import hashlib
from collections.abc import Collection

SOCKET_DIRECTORY = "/run/models"
HOST = "127.0.0.1"


def socket_path(name: str) -> str:
    """The unix socket of a deployment."""
    return f"{SOCKET_DIRECTORY}/{name}.sock"


def url(port: int) -> str:
    """The HTTP address of a deployment on this host."""
    return f"http://{HOST}:{port}"


def choose_port(name: str, first: int, last: int, taken: Collection[int]) -> int | None:
    """Pick a port of `first`..`last` for a name, the same one whenever it is free; None when all are taken."""
    size = last - first + 1
    start = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    for step in range(size):
        port = first + (start + step) % size
        if port not in taken:
            return port
    return None
