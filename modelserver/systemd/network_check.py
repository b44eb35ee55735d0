"""Makes sure that a model whose network is opened reaches what was opened to it and nothing else."""

from __future__ import annotations

import ipaddress
import socket

from modelserver.errors import CannotServeError

_PROBED = ("127.0.0.1", "127.255.255.254", "192.0.2.1", "::1", "2001:db8::1")
"""Addresses to which a datagram gets as far as the filter: this host, and what is nobody's (RFC 5737, RFC 3849)."""
_DISCARD_PORT = 9


def check_network_is_closed(networks: list[str]) -> None:
    """Tries addresses outside of `networks` (CIDR); raises CannotServeError unless the kernel blocks each of them."""
    # The filter is systemd's IPAddressDeny=, and systemd says nothing where the kernel or the control groups have no
    # such filter: the unit starts all the same, with the network open.
    allowed = [ipaddress.ip_network(network) for network in networks]
    for text in _PROBED:
        address = ipaddress.ip_address(text)
        is_allowed = any(address in network for network in allowed)
        if not is_allowed and not _is_blocked(address):
            raise CannotServeError(
                f"cannot start: the model may reach {' '.join(networks)} only, and this host does not hold it to that; "
                "have the host use unified control groups (cgroup v2), or open 0.0.0.0/0 and ::/0"
            )


def _is_blocked(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.sendto(b"", (str(address), _DISCARD_PORT))
        except OSError:  # EPERM by the filter, or no route in the first place
            return True
    return False
