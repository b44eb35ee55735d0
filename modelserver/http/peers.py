"""Decides whose TCP connections are taken."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_MAPPED_BITS = 96  # of an IPv6 address before the IPv4 address that it maps


def network(text: str) -> Network:
    """A network such as `10.0.0.0/8`, or a single address. Raises ValueError."""
    parsed = ipaddress.ip_network(text)
    if not isinstance(parsed, ipaddress.IPv6Network) or parsed.prefixlen < _MAPPED_BITS:
        return parsed
    mapped = parsed.network_address.ipv4_mapped
    return ipaddress.ip_network((mapped, parsed.prefixlen - _MAPPED_BITS)) if mapped else parsed


def is_allowed(host: str, networks: Sequence[Network]) -> bool:
    """Whether the address `host` is in one of `networks`, or there are none; an IPv4-mapped one counts as IPv4."""
    if not networks:
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    # As a socket for both families tells an IPv4 client.
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return any(address in network for network in networks)
