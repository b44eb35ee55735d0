"""Tells a browser that was led here by somebody else's host name from the clients that meant this server."""

from __future__ import annotations

import functools
import ipaddress
import socket
from typing import Any

_HTTP_PORT = 80
_MAX_PORT_DIGITS = 5  # Python refuses to read a number of thousands of digits


def is_foreign_name(host: bytes, address: Any) -> bool:
    """Whether `host`, a client's Host header, is a foreign name for the server's own `address` (getsockname()).

    The owner of a page can have the page's name mean a loopback address, and the page then speaks to what listens there
    as to its own server. It has to name the port, too. A proxy that passes on the name by which it was asked passes on
    its own port.
    """
    # No browser reaches a unix socket. Elsewhere than on loopback, clients may use any name of this host.
    if not isinstance(address, tuple) or not _is_loopback(address[0]):
        return False
    name, port = split_port(host.decode("latin-1").strip().lower(), _HTTP_PORT)
    return port == address[1] and not is_own_name(name)


def split_port(host: str, usual: int) -> tuple[str, int | None]:
    """The name and the port of a Host header, `usual` where it names none; None for a port that is no number."""
    # Colons within the brackets of an IPv6 address are none of the port's.
    has_colon = host.rfind(":") > host.rfind("]")
    if not has_colon:
        return host, usual
    name, _, port = host.rpartition(":")
    if not port:
        return name, usual
    is_number = port.isascii() and port.isdecimal() and len(port) <= _MAX_PORT_DIGITS
    return name, int(port) if is_number else None


def is_own_name(name: str) -> bool:
    """Whether nobody else can give `name` a meaning: an address, a name without dots, this host's own."""
    name = name.rstrip(".")
    last_label = name.rpartition(".")[2]
    # No top-level domain is a number, so a name that ends in one is an IPv4 address, however it is written.
    is_address = name.startswith("[") or (last_label.isascii() and last_label.isdecimal())
    return is_address or "." not in name or last_label == "localhost" or name == socket.gethostname().lower()


@functools.lru_cache(maxsize=64)  # of the server's own addresses, which are few
def _is_loopback(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback
