"""What the registry may have a host run: what the policy lists and nothing else, each refusal with its reason."""

from dataclasses import replace

import pytest

from reconciler.check.host import openings
from reconciler.core.registry.policy import Defaults, Policy, desired_release, limit_deployments
from reconciler.core.registry.tags import SETTABLE
from reconciler.core.state.reason import Reason
from reconciler.core.state.release import Parameters, Refused, Release, Rollout
from reconciler.core.state.snapshot import SelectedVersion
from reconciler.core.state.status import State
from reconciler.core.units.sandbox_openings import networks_outside
from reconciler.settings.model import DeploySettings, PolicySettings, Settings
from tests.unit.conftest import World

GIB = 1024**3
DEFAULTS = Defaults(Parameters(memory_max=GIB, cpu_quota=100, tasks_max=64), Rollout())
POLICY = Policy(
    names=("demo", "spira-*"),
    runtimes=("native",),
    tags=SETTABLE,
    networks=("10.1.0.0/16",),
    devices=("/dev/nvidia0",),
    max_memory=2 * GIB,
    max_cpu=200,
    max_replicas=3,
)


def asked(name: str = "demo", **settings: str) -> Release | Refused:
    """What comes of a version with these tags."""
    selected = SelectedVersion(name=name, version=1, source="s", selected_by="stage:Production", settings=settings)
    return desired_release(selected, DEFAULTS, POLICY)


@pytest.mark.parametrize("name", ["demo", "spira-net", "spira-"])
def test_a_listed_model_is_deployed(name: str) -> None:
    """By its name or by a pattern."""
    assert isinstance(asked(name), Release)


@pytest.mark.parametrize("name", ["demo2", "Demo", "spira", "x-spira-net"])
def test_another_model_is_not(name: str) -> None:
    """A pattern covers the whole name, and the reason says what to change."""
    refused = asked(name)
    assert isinstance(refused, Refused)
    assert (refused.reason, "policy.names" in refused.why) == (Reason.NOT_ALLOWED, True)


def test_nothing_is_allowed_unless_it_is_listed() -> None:
    """An empty policy refuses everything, and so does a host without settings."""
    assert Settings().policy.names == ()
    selected = SelectedVersion(name="demo", version=1, source="s", selected_by="stage:Production")
    assert isinstance(desired_release(selected, DEFAULTS, Policy()), Refused)
    assert isinstance(desired_release(selected, DEFAULTS, Policy(names=("*",))), Refused), "no runtime either"


@pytest.mark.parametrize("key", sorted(SETTABLE))
def test_a_tag_that_is_not_listed_is_refused_whatever_it_says(key: str) -> None:
    """Every one of them."""
    selected = SelectedVersion(name="demo", version=1, source="s", selected_by="x", settings={key: "1"})
    refused = desired_release(selected, DEFAULTS, replace(POLICY, tags=SETTABLE - {key}))
    assert isinstance(refused, Refused)
    assert f"deploy.{key}: this host's policy does not allow it" in refused.why


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"memory_max": "3G"}, "3.0 GiB memory"),
        ({"memory_max": "0"}, "unlimited memory"),
        ({"memory_max": ""}, "unlimited memory"),
        ({"cpu_quota": "201%"}, "201% processor time"),
        ({"cpu_quota": ""}, "unlimited processor time"),
        ({"replicas": "4"}, "4 replicas"),
        ({"runtime": "compose"}, "the runtime compose"),
        ({"network": "10.0.0.0/8"}, "the network 10.0.0.0/8"),
        ({"network": "10.1.2.0/24 0.0.0.0/0"}, "the network 0.0.0.0/0"),
        ({"network": "::/0"}, "the network ::/0"),
        ({"devices": "/dev/nvidia0 /dev/mem"}, "the device /dev/mem"),
    ],
)
def test_more_than_the_maximum_is_refused(settings: dict[str, str], word: str) -> None:
    """The reason says what was asked for and what is allowed."""
    refused = asked(**settings)
    assert isinstance(refused, Refused)
    assert word in refused.why
    assert "this host's policy allows" in refused.why


@pytest.mark.parametrize(
    "settings",
    [
        {"runtime": "../x"},
        {"runtime": "native/.."},
        {"network": "example.org"},
        {"network": "10.1.2.3/24"},
        {"network": "10.1.2.0/24\nDeviceAllow=/dev/mem"},
        {"devices": "/dev/../etc/shadow"},
        {"devices": "/etc/shadow"},
        {"devices": "/dev/a b"},
        {"devices": "char-*"},
        {"tasks_max": "infinity"},
        {"tasks_max": "99999999"},
        {"cache": "perhaps"},
    ],
)
def test_a_tag_that_says_nonsense_is_refused(settings: dict[str, str]) -> None:
    """By its shape, before the policy is asked and before anything of it reaches a unit."""
    refused = asked(**settings)
    assert isinstance(refused, Refused)
    assert ": it should be " in refused.why


def test_what_is_allowed_is_what_runs() -> None:
    """At the maximum, and in the order that makes the same release of the same tags."""
    release = asked(network="10.1.9.0/24, 10.1.2.0/24", devices="/dev/nvidia0", cache="true", memory_max="2G")
    assert isinstance(release, Release)
    assert release.parameters.network == ("10.1.2.0/24", "10.1.9.0/24")
    assert release.parameters.opened == "network 10.1.2.0/24 10.1.9.0/24; devices /dev/nvidia0; a cache"
    again = asked(network="10.1.2.0/24 10.1.9.0/24", devices="/dev/nvidia0", cache="1", memory_max="2048M")
    assert isinstance(again, Release)
    assert release.id == again.id


def test_networks_of_another_kind_are_outside() -> None:
    """An IPv6 network is not within an IPv4 one."""
    assert networks_outside(["::1/128", "10.1.2.0/24"], ["0.0.0.0/0"]) == ["::1/128"]


def test_those_that_are_here_keep_their_places() -> None:
    """One too many is the one that is new, then the one whose name comes later."""
    wanted = {name: asked(f"spira-{name}") for name in ("a", "b", "c")}
    limited = limit_deployments(dict(wanted), {"c"}, 2)
    assert [name for name, want in limited.items() if isinstance(want, Refused)] == ["b"]
    assert limit_deployments(dict(wanted), {"c"}, 0) == wanted


def test_a_model_that_is_not_allowed_is_told_and_leaves_no_trace(world: World) -> None:
    """Others are deployed."""
    world.reconciler.settings = Settings(policy=PolicySettings(names=("good",)), deploy=DeploySettings(soak=0))
    world.select(good=1, bad=1)
    world.converge()
    told = world.status()
    assert told["good"].state is State.SERVING
    assert (told["bad"].state, told["bad"].reason) == (State.NOT_DEPLOYABLE, Reason.NOT_ALLOWED)
    assert not [unit for unit in world.listing() if "bad" in unit]


def test_a_model_that_is_no_longer_allowed_serves_its_last_release(world: World) -> None:
    """Ops end it in the registry or by masking; a rule about what may come does not stop what helps patients now."""
    world.reconciler.settings = Settings(policy=PolicySettings(names=("good",)), deploy=DeploySettings(soak=0))
    world.select(good=1)
    world.converge()
    world.reconciler.settings = Settings(deploy=DeploySettings(soak=0))
    world.select(good=2)
    world.converge()
    told = world.status()["good"]
    assert (told.state, told.active_version, told.reason) == (State.DEGRADED, "1", Reason.NOT_ALLOWED)


def test_what_the_settings_open_is_in_the_unit_and_in_the_status(world: World) -> None:
    """And goes with the deployment."""
    world.reconciler.settings = Settings(
        policy=PolicySettings(names=("*",)),
        deploy=DeploySettings(soak=0, removal_grace=0, network=("10.0.0.0/8",), devices=("/dev/nvidia0",), cache=True),
    )
    world.select(demo=1)
    world.converge()
    assert (
        world.status()["demo"].message
        == "selected by stage:Production; open to it: network 10.0.0.0/8; devices /dev/nvidia0; a cache"
    )
    unit = next(world.etc.glob("model-demo@*.service")).read_text()
    for line in (
        "IPAddressAllow=10.0.0.0/8",
        "DeviceAllow=/dev/nvidia0 rw",
        "DevicePolicy=closed",
        "IPAddressDeny=any",
    ):
        assert f"\n{line}\n" in unit
    assert "PrivateNetwork=yes" not in unit
    assert "PrivateDevices=yes" not in unit
    world.select()
    world.converge()
    assert not [left for left in world.listing() if "demo" in left]


@pytest.mark.parametrize("usual", [True, False])
def test_code_that_a_model_makes_is_told_where_a_tag_allows_it(usual: bool) -> None:
    """By `reconciler check`; where every model may run it, a tag opens nothing."""
    settings = Settings(
        deploy=DeploySettings(executable_memory=usual), policy=PolicySettings(tags=("executable_memory", "memory_max"))
    )
    told = "a tag deploy.executable_memory may open to a model: code that it makes (policy.tags)"
    assert openings(settings) == ([] if usual else [told])
