"""What the settings open of a sandbox is open, nothing more is, and what the host cannot hold a model to is refused."""

from typing import Any

import pytest

from tests.system.site import Site
from tests.system.test_trust import INTRUDER, Attempt, done, exposure, tried_by

pytestmark = [pytest.mark.system, pytest.mark.exhaustive, pytest.mark.timeout(900)]

POLICY = """
[policy]
tags = ["environment", "network", "devices", "cache"]
networks = ["0.0.0.0/0", "::/0"]
devices = ["/dev/scanner"]
"""
EVERYWHERE = "0.0.0.0/0 ::/0"
OPENED: dict[str, dict[str, str]] = {
    "closed": {},
    "online": {"network": EVERYWHERE},
    "narrow": {"network": "10.1.2.0/24"},
    "gadget": {"devices": "/dev/scanner"},
    "scribe": {"cache": "true"},
}
WRITER = INTRUDER.replace(
    "return try_all",
    "(Path(__import__('os').environ['XDG_CACHE_HOME']) / 'kept').write_text('x'); return try_all",
)


@pytest.fixture(scope="module")
def opened(site: Site) -> Site:
    """Models that differ in what is open to them, all of which do what they are asked to."""
    site.host.write("/etc/mlflow-reconciler/config.d/70-policy.toml", POLICY)
    site.host.run("mknod -m 0666 /dev/scanner c 1 5; install -m 0666 /dev/null /dev/shm/of-the-host")
    code = {"scribe": WRITER}
    models: list[dict[str, Any]] = [
        {"name": name, "code": code.get(name, INTRUDER), "settings": {"environment": "host", **settings}}
        for name, settings in OPENED.items()
    ]
    site.register(*models)
    for name in OPENED:
        site.registry.promote(name, 1)
    for name in OPENED:
        site.wait_for(name, "failed" if name == "narrow" else "serving", 1)
    return site


def test_only_the_opened_network_is_reached(opened: Site) -> None:
    """The registry answers the one and not the others; a socket that is no IP socket is nobody's."""
    registry: list[Attempt] = [("connect", opened.registry.uri.removeprefix("http://"))]
    other: list[Attempt] = [("socket", "AF_NETLINK"), ("socket", "AF_PACKET")]
    assert done(tried_by(opened, "online", registry + other)) == registry
    for name in ("closed", "gadget"):
        assert done(tried_by(opened, name, registry)) == []


def test_a_network_that_the_kernel_does_not_hold_a_model_to_is_not_opened(opened: Site) -> None:
    """Fail closed: hosts without unified control groups have no filter, and systemd says nothing about it."""
    status = opened.statuses()["narrow"]
    if opened.host.run(["test", "-e", "/sys/fs/cgroup/cgroup.controllers"], check=False).returncode == 0:
        pytest.skip("this host has unified control groups, so the filter works")
    assert (status["state"], status["active_version"]) == ("failed", None)
    assert "may reach 10.1.2.0/24 only, and this host does not hold it to that" in status["message"]


def test_only_the_opened_device_is_there(opened: Site) -> None:
    """For the model that it was opened to; and what is the host's own is nobody's."""
    own: list[Attempt] = [("write", "/dev/scanner")]
    others: list[Attempt] = [("read", "/dev/kmsg"), ("write", "/dev/console"), ("read", "/dev/mem")]
    others += [("write", "/dev/shm/of-the-host"), ("execute", "/dev/shm/tried"), ("list", "/dev/pts")]  # noqa: S108 - the host's
    assert done(tried_by(opened, "gadget", own + others)) == own
    assert done(tried_by(opened, "closed", own)) == []


def test_the_cache_is_the_models_own_and_goes_with_it(opened: Site) -> None:
    """Nobody else sees it, nothing in it can be run, and nothing of it is left."""
    place = opened.host.output("ls -d /var/cache/private/mlflow-models/scribe@*")
    tried: list[Attempt] = [("execute", f"{place.replace('/private', '')}/tried")]
    assert done(tried_by(opened, "scribe", tried)) == []
    assert opened.host.read(f"{place}/kept") == "x"
    seen: list[Attempt] = [("list", "/var/cache/private"), ("read", f"{place}/kept")]
    assert done(tried_by(opened, "closed", seen)) == []
    opened.demote("scribe")
    assert opened.host.output("ls -A /var/cache/private/mlflow-models /var/cache/mlflow-models") in ("", BOTH_EMPTY)


BOTH_EMPTY = "/var/cache/mlflow-models:\n\n/var/cache/private/mlflow-models:"


def test_it_is_visible_where_people_look(opened: Site) -> None:
    """In `status` and in `check`."""
    told = {name: one["message"] for name, one in opened.statuses().items()}
    assert f"; open to it: network {EVERYWHERE}; " in told["online"]
    assert "; open to it: devices /dev/scanner; " in told["gadget"]
    assert "open to it" not in told["closed"]
    assert f"open to it: network {EVERYWHERE}" in opened.host.output(["reconciler", "status"])
    check = opened.host.run(["reconciler", "check"], check=False).stdout
    assert "opened by the settings: a tag deploy.network may open to a model: 0.0.0.0/0 ::/0" in check


@pytest.mark.parametrize(("name", "most"), [("closed", 0.5), ("online", 1.5), ("gadget", 0.8)])
def test_what_is_not_opened_is_as_closed_as_ever(opened: Site, name: str, most: float) -> None:
    """systemd's own judgement of the running units."""
    unit = opened.host.output(["systemctl", "show", "--property=Id", "--value", f"model-{name}@*.service"])
    assert exposure(opened, unit) <= most


def test_the_unix_socket_is_for_its_group(opened: Site) -> None:
    """Whoever is in mlflow-clients may, others may not."""
    path = opened.statuses()["closed"]["socket"]
    assert opened.host.output(["stat", "--format=%a %U %G", path]) == "660 root mlflow-clients"
    connect = f"import socket; socket.socket(socket.AF_UNIX).connect({path!r})"
    opened.host.run(["useradd", "--groups", "mlflow-clients", "nurse"])
    assert opened.host.run(["python3", "-c", connect], user="ada", check=False).returncode != 0
    opened.host.run(["python3", "-c", connect], user="nurse")
