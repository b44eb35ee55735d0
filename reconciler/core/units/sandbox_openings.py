"""What of a model's sandbox may be opened: networks and devices, as settings, tags and the policy name them."""

import ipaddress
import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator

_MAX_DEVICE = 100
# Each part begins with a letter, a digit or "_", so that none is ".." or hidden.
_DEVICE = re.compile(r"/dev/[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")


_AnyNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


def _network(value: str) -> str:
    """Read a network. Two ways to write the same one come out as the same text."""
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        raise ValueError("should be a network such as 10.1.2.0/24 or ::1/128") from None


def _device(value: str) -> str:
    """Check the path of a device. No `..`, no blanks and no wildcards: it goes into a unit as it is."""
    # No device has a path as long as this; the limit keeps a tag from filling the unit.
    is_path = _DEVICE.fullmatch(value) is not None
    if len(value) > _MAX_DEVICE or not is_path:
        raise ValueError("should be the path of a device such as /dev/nvidia0")
    return value


Network = Annotated[str, AfterValidator(_network)]
Device = Annotated[str, AfterValidator(_device)]


def networks_outside(networks: Iterable[str], allowed: Iterable[str]) -> list[str]:
    """Return the networks that are not within any of the allowed ones.

    A network that is partly within one of them and partly within another is outside.
    """
    wide = [ipaddress.ip_network(network) for network in allowed]
    outside = []
    for network in networks:
        inner = ipaddress.ip_network(network)
        is_allowed = any(_is_within(inner, outer) for outer in wide)
        if not is_allowed:
            outside.append(network)
    return outside


def _is_within(inner: _AnyNetwork, outer: _AnyNetwork) -> bool:
    """Tell whether all addresses of a network are addresses of another.

    An IPv4 network is never within an IPv6 one, not even within `::/0`.
    """
    first = inner.network_address
    last = inner.broadcast_address
    # `in` is False for an address of the other version.
    return first in outer and last in outer
