"""The attacks of test_trust.py would get through without what stops them: each protection is taken out once.

Where two protections stand in the same way, both are taken out: one alone would not be missed.
"""

from collections.abc import Iterator

import pytest

from tests.host.host import CHECKOUT
from tests.system.site import Site, code
from tests.system.test_trust import (
    DEPLOYED,
    EXECUTABLE_MEMORY,
    INTRUDER,
    SECRETS,
    Attempt,
    done,
    tried_by,
    tried_by_the_reconciler,
)

pytestmark = [pytest.mark.system, pytest.mark.by_hand, pytest.mark.timeout(600)]

TEMPLATE = CHECKOUT / "templates/native/model.service.j2"
OWN = "/etc/mlflow-reconciler/templates/native/model.service.j2"
REGISTRY: Attempt = ("connect", "the registry")
SHARED_MEMORY = "TemporaryFileSystem=/dev/shm:size={{ temp_size }},nr_inodes=64k,mode=1777,nosuid,nodev,noexec"
OF_A_SERVER: dict[str, tuple[list[str], Attempt]] = {
    "network": (["PrivateNetwork=yes", "RestrictAddressFamilies=AF_UNIX"], REGISTRY),
    "address families": (["RestrictAddressFamilies=AF_UNIX"], ("socket", "AF_INET")),
    "sight of /run": (
        ["TemporaryFileSystem=/run:ro", "BindReadOnlyPaths=/run/systemd/notify"],
        ("forge an entry through", "/run/systemd/journal/socket"),
    ),
    "sight of settings": (
        ["InaccessiblePaths=-/etc/mlflow-reconciler -/etc/systemd/system"],
        ("read", "/etc/mlflow-reconciler/config.toml"),
    ),
    "devices": (["PrivateDevices=yes"], ("write", "/dev/scanner")),
    "homes": (["ProtectHome=yes"], ("read", "/home/ada/secret")),
    "shared memory": ([SHARED_MEMORY], ("write", "/dev/shm/of-the-host")),  # noqa: S108 - the host's
    "programs of its own": (["NoExecPaths=/ /tmp /var/tmp", SHARED_MEMORY], ("execute", "/dev/shm/tried")),  # noqa: S108 - its own
}
"""Namespaces are not among them: several lines forbid them, and no single one is missed."""
OF_THE_RECONCILER: dict[str, tuple[str, Attempt]] = {
    "network": ("PrivateNetwork=no\nRestrictAddressFamilies=AF_UNIX AF_INET\n", REGISTRY),
    "address families": ("RestrictAddressFamilies=AF_UNIX AF_INET\n", ("socket", "AF_INET")),
    "capabilities": (
        "CapabilityBoundingSet=CAP_DAC_OVERRIDE\nInaccessiblePaths=\n",
        ("read", f"{DEPLOYED}/neighbour/releases/1/manifest.json"),
    ),
    "homes": ("ProtectHome=no\n", ("read", SECRETS[0])),
    "file system": ("ProtectSystem=no\n", ("create", "/usr/local/bin/tried")),
    "sight of /run": ("ReadOnlyPaths=\n", ("create", "/run/tried")),
    "memory": ("MemoryDenyWriteExecute=no\n", EXECUTABLE_MEMORY),
}


@pytest.fixture(scope="module")
def models(site: Site) -> Iterator[Site]:
    """A model that does what it is asked to, a neighbour, and files that nobody should see."""
    for path in SECRETS:
        site.host.write(path, "secret")
        site.host.run(["chmod", "755", path.rpartition("/")[0]])
    site.host.run("mknod -m 0666 /dev/scanner c 1 5; install -m 0666 /dev/null /dev/shm/of-the-host")
    site.serve({"name": "intruder", "code": INTRUDER}, {"name": "neighbour", "code": code()})
    yield site
    site.host.run(["rm", "-f", OWN])


def on(site: Site, attempt: Attempt) -> Attempt:
    """Put the registry's address in."""
    return ("connect", site.registry.uri.removeprefix("http://")) if attempt is REGISTRY else attempt


@pytest.mark.parametrize("what", list(OF_A_SERVER))
def test_a_server_would_get_through_without(models: Site, what: str) -> None:
    """With a template of the host's own that lacks it, the model does what it cannot do otherwise."""
    lines, attempt = OF_A_SERVER[what]
    attempt = on(models, attempt)
    assert done(tried_by(models, "intruder", [attempt])) == []
    text = TEMPLATE.read_text()
    for line in lines:
        assert f"{line}\n" in text
        text = text.replace(f"{line}\n", "")
    models.host.write(OWN, text)
    rolled_out(models)
    assert done(tried_by(models, "intruder", [attempt])) == [attempt]
    models.host.run(["rm", OWN])
    rolled_out(models)
    assert done(tried_by(models, "intruder", [attempt])) == []


def rolled_out(site: Site) -> None:
    """Have the intruder run by the template that is there now."""
    before = site.host.output("readlink -f /etc/systemd/system/multi-user.target.wants/model-intruder@*")
    site.host.run(["reconciler", "rollout", "intruder"])

    def another() -> bool:
        now = site.host.output("readlink -f /etc/systemd/system/multi-user.target.wants/model-intruder@* || true")
        return now not in ("", before) and site.statuses()["intruder"]["state"] == "serving"

    site.host.wait_for(another, 120, "another release of the intruder to serve")


@pytest.mark.parametrize("what", list(OF_THE_RECONCILER))
def test_the_reconciler_would_get_through_without(models: Site, what: str) -> None:
    """In its own unit, with one thing taken back."""
    lines, attempt = OF_THE_RECONCILER[what]
    attempt = on(models, attempt)
    assert done(tried_by_the_reconciler(models, [attempt])) == []
    assert done(tried_by_the_reconciler(models, [attempt], lines)) == [attempt]
