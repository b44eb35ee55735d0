"""Which server an address names, and whether what is sent there could be read on the way."""

from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import SplitResult, urlsplit

_PORTS = {"http": 80, "https": 443}


def origin(address: str, scheme: str = "") -> str:
    """Name the server or bucket of an address, as `https://host:443` or `s3://bucket`; "" when it names none.

    `scheme` replaces the address's own. The same server comes out as the same text, however its address is written:
    `HTTPS://Host` as `https://host:443`.
    """
    try:
        parts = urlsplit(address)
        # It reads the port, which raises ValueError as well.
        return _origin(parts, scheme or parts.scheme)
    except ValueError:
        # A port or an IPv6 address that is none.
        return ""


def _origin(parts: SplitResult, scheme: str) -> str:
    """Name a server with its port, or a bucket without one; "" where there is neither."""
    # A bucket has no port. With a "@" in it, what comes before may be a container, as in wasbs://container@account.
    is_a_server = scheme in _PORTS and "@" not in parts.netloc
    # A path alone, or a scheme alone, is nobody's address.
    place = parts.hostname if is_a_server else parts.netloc
    if not place:
        return ""
    if not is_a_server:
        return f"{scheme}://{place}"
    port = parts.port or _PORTS[scheme]
    return f"{scheme}://{bracketed(place)}:{port}"


def bracketed(host: str) -> str:
    """Write a host as it is in an address: an IPv6 address in brackets, anything else as it is.

    Without the brackets the port behind it would be a part of it.
    """
    is_ipv6 = ":" in host
    return f"[{host}]" if is_ipv6 else host


def may_reach(host: str, port: int, origins: Collection[str]) -> bool:
    """Tell whether one of the origins is at this host and port, whatever its scheme.

    `origins` are what `origin` returns. A bucket is at no host that could be told from its name.
    """
    place = f"{bracketed(host.lower())}:{port}"
    return any(f"{scheme}://{place}" in origins for scheme in _PORTS)


def is_readable_on_the_way(address: str) -> bool:
    """Tell whether what is sent to an address crosses a network as plain text.

    What stays on this host crosses none.
    """
    parts = urlsplit(address)
    is_encrypted = parts.scheme == "https"
    stays_here = is_loopback(parts.hostname or "")
    return not is_encrypted and not stays_here


def is_loopback(host: str) -> bool:
    """Tell whether a host, as an address names it, is this one.

    All of 127.0.0.0/8 is, and ::1.
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        # A name. Another name may lead here, too, but who answers for names is not known.
        return host == "localhost"
