"""Tells a browser that was led here by a name of somebody else's from the clients that meant this server."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

_HTTP = 80


def misled(host: bytes, address: Any) -> bool:
    """Whether `host`, as a client named it, is a foreign name for the server's own `address` (getsockname()).

    A page of somebody else's can have its name mean a loopback address, and then speaks to what listens there as to its
    own server. It has to name the port, too. A proxy that passes on the name by which it was asked passes on its own.
    """
    if not isinstance(address, tuple) or not _loopback(address[0]):
        return False  # no browser reaches a unix socket; elsewhere, clients may use any name of this host
    name, port = _parted(host.decode("latin-1").strip().lower())
    return port == address[1] and not _ours(name)


def _parted(host: str) -> tuple[str, int | None]:
    """The name and the port of a Host header; None for a port that is none."""
    bracket = host.rfind("]")
    name, colon, port = host.rpartition(":") if host.rfind(":") > bracket else (host, "", "")
    if not colon or not port:
        return name, _HTTP
    return name, int(port) if port.isascii() and port.isdecimal() and len(port) < len("100000") else None


def _ours(name: str) -> bool:
    """Whether nobody else can give `name` a meaning: an address, a name without dots, this host's own."""
    name = name.rstrip(".")
    last = name.rpartition(".")[2]
    address = name.startswith("[") or (last.isascii() and last.isdecimal())
    return address or "." not in name or last == "localhost" or name == socket.gethostname().lower()


def _loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback
