"""Throwaway systemd hosts for the system tests, `./dev shell` and `./dev demo`."""

from tests.host.cgroup import why_no_host
from tests.host.host import CHECKOUT_INSIDE, Host, HostError
from tests.host.image import installed_image
from tests.host.installed import installed_host
from tests.host.layers import Layers
from tests.host.registry import Registry, wait_for_url

__all__ = [
    "CHECKOUT_INSIDE",
    "Host",
    "HostError",
    "Layers",
    "Registry",
    "installed_host",
    "installed_image",
    "wait_for_url",
    "why_no_host",
]
