"""A model whose network is opened in part is served only where the kernel holds it to that part."""

import subprocess
import sys

import pytest

EVERYWHERE = ["0.0.0.0/0", "::/0"]
TRY = """
import sys
from modelserver.errors import CannotServeError
from modelserver.systemd.network_check import check_network_is_closed
try:
    check_network_is_closed(sys.argv[1:])
except CannotServeError as error:
    sys.exit(str(error))
"""


def tried(networks: list[str], *before: str) -> subprocess.CompletedProcess[str]:
    """Try it in a process of its own, started through `before`."""
    command = [*before, sys.executable, "-c", TRY, *networks]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_everything_needs_no_filter() -> None:
    """There is nothing to hold it to."""
    assert tried(EVERYWHERE).returncode == 0


@pytest.mark.parametrize("networks", [["10.1.2.0/24"], ["127.0.0.0/8"], ["0.0.0.0/0"], ["::/0"]])
def test_without_a_filter_it_is_refused_with_a_sentence(networks: list[str]) -> None:
    """This process has none: whatever is not in the networks can be sent to all the same."""
    refused = tried(networks)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"cannot start: the model may reach {networks[0]} only, and this host does not")


def test_where_nothing_else_is_reached_it_is_served() -> None:
    """A network namespace without any interface up stands for the filter: nothing leaves it."""
    if subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to make a network namespace")
    assert tried(["10.1.2.0/24"], "unshare", "--net").returncode == 0
