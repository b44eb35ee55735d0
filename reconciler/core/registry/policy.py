"""What this host lets the registry decide: an allow-list; what is not on it is refused with a reason."""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase

from reconciler.core.registry.tags import OF_ROLLOUT, TagError, read_tags
from reconciler.core.state.reason import Reason
from reconciler.core.state.release import Parameters, Refused, Release, Rollout
from reconciler.core.state.snapshot import SelectedVersion
from reconciler.core.text.sizes import human_size
from reconciler.core.units.sandbox_openings import networks_outside


@dataclass(frozen=True)
class Policy:
    """The host's limits on what anybody who may write to the registry can have it run."""

    names: tuple[str, ...] = ()
    """Models, as names or patterns with `*`."""
    runtimes: tuple[str, ...] = ()
    tags: frozenset[str] = frozenset()
    """Keys of `deploy.` tags."""
    networks: tuple[str, ...] = ()
    """Networks (CIDR) that a tag may open."""
    devices: tuple[str, ...] = ()
    """Devices that a tag may open."""
    max_memory: int = 0
    """Bytes of one server; 0 is no maximum."""
    max_cpu: int = 0
    """Percent of one CPU; 0 is no maximum."""
    max_replicas: int = 1
    max_deployments: int = 0


@dataclass(frozen=True)
class Defaults:
    """How this host runs what says nothing about it."""

    parameters: Parameters
    rollout: Rollout


def desired_release(
    selected: SelectedVersion, defaults: Defaults, policy: Policy, generation: int = 0
) -> Release | Refused:
    """Apply a version's `deploy.` tags to the host's defaults, as far as the host's policy allows them."""
    if not any(fnmatchcase(selected.name, pattern) for pattern in policy.names):
        why = (
            f"cannot deploy {selected.name}: this host's policy does not allow it; "
            "add the name to policy.names in config.toml"
        )
        return Refused(selected.name, selected.version, why, Reason.NOT_ALLOWED)
    try:
        changes = read_tags(selected.settings, policy.tags)
        of_release = {key: value for key, value in changes.items() if key not in OF_ROLLOUT}
        release = Release(
            name=selected.name,
            version=selected.version,
            source=selected.source,
            parameters=Parameters(**{**asdict(defaults.parameters), **of_release}),
            rollout=Rollout(
                **{**asdict(defaults.rollout), **{key: changes[key] for key in changes.keys() & OF_ROLLOUT}}
            ),
            selected_by=selected.selected_by,
            also_matching=selected.also_matching,
            generation=generation,
            tags=tuple(sorted(selected.settings.items())),
        )
        _check(release, frozenset(changes), policy)
    except TagError as error:
        return Refused(selected.name, selected.version, str(error))
    return release


def _check(release: Release, by_tag: frozenset[str], policy: Policy) -> None:
    """Hold a release to the policy's maxima. Raises TagError."""
    parameters, rollout = release.parameters, release.rollout
    if parameters.idle_timeout and rollout.replicas > 1:
        raise TagError(
            f"cannot run {rollout.replicas} replicas that end when they are idle: one of them would be enough then; "
            "set deploy.replicas or deploy.idle_timeout, not both"
        )
    if parameters.runtime not in policy.runtimes:
        raise _beyond(f"the runtime {parameters.runtime}", f"only {', '.join(policy.runtimes) or 'none'}", "runtime")
    if _exceeds(parameters.memory_max, policy.max_memory):
        asked = human_size(parameters.memory_max) if parameters.memory_max else "unlimited"
        raise _beyond(f"{asked} memory", f"at most {human_size(policy.max_memory)}", "memory_max")
    if _exceeds(parameters.cpu_quota, policy.max_cpu):
        asked = f"{parameters.cpu_quota}%" if parameters.cpu_quota else "unlimited"
        raise _beyond(f"{asked} processor time", f"at most {policy.max_cpu}%", "cpu_quota")
    if rollout.replicas > policy.max_replicas:
        raise _beyond(f"{rollout.replicas} replicas", f"at most {policy.max_replicas}", "replicas")
    if "network" in by_tag and (outside := networks_outside(parameters.network, policy.networks)):
        raise _beyond(f"the network {outside[0]}", f"only {', '.join(policy.networks) or 'none'}", "network")
    if "devices" in by_tag and (outside := [one for one in parameters.devices if one not in policy.devices]):
        raise _beyond(f"the device {outside[0]}", f"only {', '.join(policy.devices) or 'none'}", "devices")


def _exceeds(asked: int, most: int) -> bool:
    return most > 0 and (asked == 0 or asked > most)


def _beyond(asked: str, allowed: str, key: str) -> TagError:
    return TagError(
        f"cannot run it with {asked}: this host's policy allows {allowed}; change deploy.{key}, or ask for more"
    )


def limit_deployments(
    desired: dict[str, Release | Refused], here: Collection[str], most: int
) -> dict[str, Release | Refused]:
    """Refuse what would be one deployment too many: those that are here keep their places, others come by name."""
    deployable = sorted(
        (name for name, release in desired.items() if isinstance(release, Release)),
        key=lambda name: (name not in here, name),
    )
    for name in deployable[most:] if most else ():
        why = (
            f"cannot deploy {name}: this host's policy allows {most} deployments and they are taken; "
            "take another model out, or raise policy.max_deployments"
        )
        desired[name] = Refused(name, desired[name].version, why, Reason.NOT_ALLOWED)
    return desired
