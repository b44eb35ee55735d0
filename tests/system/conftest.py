"""One site for each group of system tests, and another for those that break it."""

from collections.abc import Iterator

import pytest

from tests.host import Layers, Registry, installed_host
from tests.system.site import Site

# Retries come fast, because tests wait for them; models use the product's interpreter unless a test builds one.
SETTINGS = "[reconcile]\nretry_min = 1\nretry_max = 5\n"


@pytest.fixture(scope="module")
def site(image: Layers) -> Iterator[Site]:
    """A site of this module's own."""
    with installed_host(image, "site", settings=SETTINGS) as host:
        registry = Registry(host, host.registry_port)
        registry.start()
        yield Site(host, registry)
