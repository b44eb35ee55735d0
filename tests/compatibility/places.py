"""A site for trials: the limits are the defaults and are enforced, and packages may lie beside the index."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

from tests.host import Layers, Registry, installed_host
from tests.system.site import Site

SETTINGS = """
[policy]
tags = ["environment", "start_timeout", "memory_max", "replicas", "tasks_max"]
[build]
find_links = {find_links}
"""


@contextmanager
def trial_site(image: Layers) -> Iterator[Site]:
    """Boot a host with a registry. UV_FIND_LINKS names places with packages that the index has not, as uv reads it.

    UV_CONSTRAINT, a file, reaches the data scientist's uv as well: it chooses versions.
    """
    find_links = [place for place in os.environ.get("UV_FIND_LINKS", "").replace(" ", ",").split(",") if place]
    with installed_host(image, "packages", settings=SETTINGS.format(find_links=json.dumps(find_links))) as host:
        host.enforce_limits()
        registry = Registry(host, host.registry_port)
        registry.start()
        yield Site(host, registry)
