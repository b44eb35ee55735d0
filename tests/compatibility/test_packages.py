"""Packages that models use: each from its registration to right answers, in the sandbox, within the default limits."""

import re
from collections.abc import Iterator

import pytest

from tests.compatibility.cases import CASES, Case
from tests.compatibility.places import trial_site
from tests.compatibility.trial import try_out
from tests.host import Layers
from tests.system.site import Site, code

pytestmark = [pytest.mark.system, pytest.mark.by_hand, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def site(image: Layers) -> Iterator[Site]:
    """One host for all packages, of which one is there at a time."""
    with trial_site(image) as site:
        yield site


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_model_with_this_package_answers_rightly(site: Site, case: Case) -> None:
    """Cold, after a restart, and with two servers and 50 requests at once; what it takes is printed."""
    print(f"{case.name}: {try_out(site, case)}")  # noqa: T201 - the figures are reported


# A limit, the value that is too low for the model, what the model does when it is loaded, and the words of the status.
LIMITS = {
    "memory_max": (
        "300M",
        "self.weights = b'x' * (600 << 20)",
        r"more memory than it may .*; raise deploy\.memory_max or its",
    ),
    "tasks_max": (
        "40",
        "import threading; end = threading.Event(); "
        "[threading.Thread(target=end.wait, daemon=True).start() for _ in range(100)]",
        r"can't start new thread.*deploy\.tasks_max",
    ),
    "start_timeout": (
        "10",
        "import threading; threading.Event().wait()",
        r"timeout .*raise deploy\.start_timeout or its",
    ),
    "temp_size": ("400M", "open('/tmp/x', 'wb').write(bytes(200 << 20))", r"No space left .*deploy\.memory_max"),
}


@pytest.mark.parametrize("limit", LIMITS)
def test_a_limit_that_is_too_low_is_named(site: Site, limit: str) -> None:
    """The status says which setting to raise. The place for files is a part of the memory, and has none of its own."""
    value, does, words = LIMITS[limit]
    name, setting = limit.replace("_", "-"), "memory_max" if limit == "temp_size" else limit
    settings = {"environment": "host", setting: value}
    site.register({"name": name, "code": code(on_load=does), "settings": settings})
    site.registry.promote(name, 1)
    status = site.wait_for(name, "failed", 1)
    site.demote(name)
    assert re.search(words, status["message"]), status
