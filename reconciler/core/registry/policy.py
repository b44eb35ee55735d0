"""What this host lets the registry decide: an allow-list; what is not on it is refused with a reason.

Anybody who may write to the registry can try anything here. Nothing is corrected to what would be allowed: a version
runs as it was asked for, or it does not run and its status says why.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import NamedTuple

from reconciler.core.registry.tags import OF_ROLLOUT, TagError, read_tags
from reconciler.core.state.reason import Reason
from reconciler.core.state.release import Parameters, Refused, Release, Rollout
from reconciler.core.state.snapshot import SelectedVersion
from reconciler.core.text.sizes import human_size
from reconciler.core.units.sandbox_openings import networks_outside

_UNLIMITED = "unlimited"


@dataclass(frozen=True)
class Policy:
    """The host's limits on what anybody who may write to the registry can have it run."""

    names: tuple[str, ...] = ()
    """Models, as names or patterns with `*`."""
    runtimes: tuple[str, ...] = ()
    tags: frozenset[str] = frozenset()
    """Keys of `deploy.` tags; a tag with another key is refused."""
    networks: tuple[str, ...] = ()
    """Networks (CIDR) that a tag may open."""
    devices: tuple[str, ...] = ()
    """Devices that a tag may open."""
    brokers: tuple[str, ...] = ()
    """NATS servers that a tag may name."""
    max_memory: int = 0
    """Bytes of one server; 0 is no maximum."""
    max_cpu: int = 0
    """Percent of one CPU; 0 is no maximum."""
    max_replicas: int = 1
    max_deployments: int = 0
    """On this host; 0 is no maximum."""


@dataclass(frozen=True)
class Defaults:
    """How this host runs a version whose tags say nothing about it."""

    parameters: Parameters
    rollout: Rollout


def desired_release(
    selected: SelectedVersion, defaults: Defaults, policy: Policy, generation: int = 0
) -> Release | Refused:
    """Apply a version's `deploy.` tags to the host's defaults, as far as the host's policy allows them.

    `generation`: how often an operator asked for a rollout of what runs already.
    """
    # fnmatchcase and not fnmatch: on every host the same, and "Demo" is another model than "demo".
    is_allowed = any(fnmatchcase(selected.name, pattern) for pattern in policy.names)
    if not is_allowed:
        why = (
            f"cannot deploy {selected.name}: this host's policy does not allow it; "
            "ask the host's operators to add the name to policy.names"
        )
        return Refused(selected.name, selected.version, why, Reason.NOT_ALLOWED)
    try:
        changes = read_tags(selected.settings, policy.tags)
        release = _release(selected, defaults, changes, generation)
        _check(release, frozenset(changes), policy)
    except TagError as error:
        return Refused(selected.name, selected.version, str(error))
    return release


def _release(selected: SelectedVersion, defaults: Defaults, changes: Mapping[str, object], generation: int) -> Release:
    """Make the release that a version's tags ask for; `changes`: what `read_tags` has read.

    It is not held to the policy yet.
    """
    of_rollout = {key: value for key, value in changes.items() if key in OF_ROLLOUT}
    of_parameters = {key: value for key, value in changes.items() if key not in OF_ROLLOUT}
    parameters = replace(defaults.parameters, **of_parameters)  # type: ignore[arg-type]  # read_tags checks keys, types
    rollout = replace(defaults.rollout, **of_rollout)  # type: ignore[arg-type]  # read_tags checks keys and types
    return Release(
        name=selected.name,
        version=selected.version,
        source=selected.source,
        parameters=parameters,
        rollout=rollout,
        selected_by=selected.selected_by,
        also_matching=selected.also_matching,
        generation=generation,
        tags=tuple(sorted(selected.settings.items())),
    )


class _Excess(NamedTuple):
    """One thing in which a release goes beyond the policy, in words."""

    asked: str
    allowed: str
    key: str
    """The tag that asks for it, or the setting."""


def _check(release: Release, by_tag: frozenset[str], policy: Policy) -> None:
    """Hold a release to the policy. Raises TagError with the first thing that is wrong.

    `by_tag`: the keys that the version's tags set.
    """
    # A server that ends when it is idle is started by the next request, and one request starts one server only.
    ends_when_idle = release.parameters.idle_timeout > 0
    replicas = release.rollout.replicas
    if ends_when_idle and replicas > 1:
        raise TagError(
            f"cannot run {replicas} replicas that end when they are idle: one of them would be enough then; "
            "set deploy.replicas or deploy.idle_timeout, not both"
        )
    for excess in _excesses(release, by_tag, policy):
        raise TagError(
            f"cannot run it with {excess.asked}: this host's policy allows {excess.allowed}; "
            f"change deploy.{excess.key}, or ask the host's operators for more"
        )


def _excesses(release: Release, by_tag: frozenset[str], policy: Policy) -> Iterator[_Excess]:
    """Yield where a release goes beyond the policy. The status tells the first.

    The maxima hold for what the host's own settings say, too. The networks, devices and brokers of the settings need
    not be in the policy: root has opened them in config.toml already.
    """
    parameters = release.parameters
    # The runtime is a folder of templates, and decides what a unit does at all.
    if parameters.runtime not in policy.runtimes:
        yield _Excess(f"the runtime {parameters.runtime}", _only(policy.runtimes), "runtime")
    if _is_more(parameters.memory_max, policy.max_memory):
        size = human_size(parameters.memory_max) if parameters.memory_max else _UNLIMITED
        yield _Excess(f"{size} memory", f"at most {human_size(policy.max_memory)}", "memory_max")
    if _is_more(parameters.cpu_quota, policy.max_cpu):
        share = f"{parameters.cpu_quota}%" if parameters.cpu_quota else _UNLIMITED
        yield _Excess(f"{share} processor time", f"at most {policy.max_cpu}%", "cpu_quota")
    if release.rollout.replicas > policy.max_replicas:
        yield _Excess(f"{release.rollout.replicas} replicas", f"at most {policy.max_replicas}", "replicas")
    # A network within an allowed one is allowed, but a device has to be listed by its own path.
    if "network" in by_tag:
        for network in networks_outside(parameters.network, policy.networks):
            yield _Excess(f"the network {network}", _only(policy.networks), "network")
    if "devices" in by_tag:
        for device in sorted({*parameters.devices} - {*policy.devices}):
            yield _Excess(f"the device {device}", _only(policy.devices), "devices")
    # The host's login goes there, so a tag must not lead it elsewhere.
    if "brokers" in by_tag:
        for broker in sorted({*release.rollout.brokers} - {*policy.brokers}):
            yield _Excess(f"the broker {broker}", _only(policy.brokers), "brokers")


def _is_more(asked: int, most: int) -> bool:
    """Tell whether something is beyond a maximum. 0 asks for no limit, so it is more than any maximum."""
    if most == 0:
        return False
    return asked == 0 or asked > most


def _only(allowed: Sequence[str]) -> str:
    """Name what a list of the policy allows, such as `only native`."""
    # An empty list allows nothing.
    names = ", ".join(allowed)
    return f"only {names or 'none'}"


def limit_deployments(
    desired: dict[str, Release | Refused], here: Collection[str], most: int
) -> dict[str, Release | Refused]:
    """Refuse the deployments that are too many for this host. Changes and returns `desired`.

    `here`: the deployments that the host has already; they keep their places. The others get places by name, so that
    the same are refused in each pass. `most`: 0 is no maximum.
    """
    if most == 0:
        return desired
    # A refused version takes no place: what is left of it on this host may go on serving.
    deployable = [name for name, release in desired.items() if isinstance(release, Release)]
    in_order = sorted(deployable, key=lambda name: (name not in here, name))
    for name in in_order[most:]:
        why = (
            f"cannot deploy {name}: this host's policy allows {most} deployments and they are taken; "
            "take another model out, or ask the host's operators to raise policy.max_deployments"
        )
        desired[name] = Refused(name, desired[name].version, why, Reason.NOT_ALLOWED)
    return desired
