"""What of a model's sandbox may be opened: networks and devices, as settings, tags and the policy name them."""

import ipaddress
import re
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator

_DEVICE = re.compile(r"/dev/[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")


def _network(value: str) -> str:
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        raise ValueError("should be a network such as 10.1.2.0/24 or ::1/128") from None


def _device(value: str) -> str:
    if len(value) > 100 or not _DEVICE.fullmatch(value):
        raise ValueError("should be the path of a device such as /dev/nvidia0")
    return value


Network = Annotated[str, AfterValidator(_network)]
Device = Annotated[str, AfterValidator(_device)]


def networks_outside(networks: Iterable[str], allowed: Iterable[str]) -> list[str]:
    """Tell which networks are not within any of the allowed ones."""
    wide = [ipaddress.ip_network(one) for one in allowed]
    return [one for one in networks if not any(_within(ipaddress.ip_network(one), net) for net in wide)]


_Net = ipaddress.IPv4Network | ipaddress.IPv6Network


def _within(inner: _Net, outer: _Net) -> bool:
    first, last = inner.network_address, inner.broadcast_address
    return inner.version == outer.version and first in outer and last in outer
