"""Which server an address names, and whether what is sent there could be read on the way."""

from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

_PORTS = {"http": 80, "https": 443}


def origin(address: str, scheme: str = "") -> str:
    """Name the server or bucket of an address, as `https://host:443` or `s3://bucket`; "" when it names none.

    `scheme` replaces the address's own.
    """
    try:
        parts = urlsplit(address)
        scheme = scheme or parts.scheme
        if scheme not in _PORTS or "@" in parts.netloc:
            return f"{scheme}://{parts.netloc}" if parts.netloc else ""
        return f"{scheme}://{_host(parts)}:{parts.port or _PORTS[scheme]}" if parts.hostname else ""
    except ValueError:  # a port or an IPv6 address that is none
        return ""


def may_reach(host: str, port: int, origins: Collection[str]) -> bool:
    """Tell whether one of the origins is at this host and port."""
    name = f"[{host}]" if ":" in host else host.lower()
    return any(f"{scheme}://{name}:{port}" in origins for scheme in _PORTS)


def is_readable_on_the_way(address: str) -> bool:
    """Tell whether what is sent to an address crosses a network as plain text."""
    parts = urlsplit(address)
    return parts.scheme != "https" and not _is_loopback(parts.hostname or "")


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    return f"[{host}]" if ":" in host else host


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
