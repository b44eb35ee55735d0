"""What a deployment should run: a model version with one set of parameters, or the reason why it cannot be."""

import hashlib
import json
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Literal

from reconciler.core.state.reason import Reason
from reconciler.core.state.setting_kinds import (
    BROKERS,
    DEVICES,
    FLAG,
    NETWORKS,
    QUOTA,
    RUNTIME,
    choice,
    declare,
    seconds,
    size,
    whole_number,
)
from reconciler.core.units.names import MAX_REPLICAS, ReleaseId

COMPOSE = "compose"
"""The runtime whose releases run in containers."""
EnvironmentKind = Literal["model", "host"]
Strategy = Literal["hand-over", "recreate"]


@dataclass(frozen=True)
class Parameters:
    """How a model version is run. Any difference makes another release.

    A field is the whole declaration of a parameter. The setting `deploy.<field>`, the tag of the same name, the key for
    `policy.tags` and the value for the templates are made from it. A default means "as before there was this parameter"
    and never changes: `digest` counts only what differs from it. So `Parameters()` is no host's default, and has no
    limits: the defaults of a host are those `in_settings`.
    """

    # The order is that of the keys in config.toml, and in the sentences that list them.
    runtime: str = declare(RUNTIME, "native")
    environment: EnvironmentKind = declare(choice(EnvironmentKind), "model")
    start_timeout: int = declare(seconds(1), 300)
    """Seconds from start until the model is loaded and its example answered."""
    stop_timeout: int = declare(seconds(1), 30)
    """Seconds for the requests in flight when a server stops."""
    memory_max: int = declare(size("512M or 4G"), 0, in_settings=4 * 1024**3)
    """Bytes; 0 is no limit."""
    cpu_quota: int = declare(QUOTA, 0, in_settings=400)
    """Percent of one CPU; 0 is no limit."""
    tasks_max: int = declare(whole_number(16, 32_768), 0, in_settings=512)
    """Processes and threads; 0 is systemd's own limit."""
    network: tuple[str, ...] = declare(NETWORKS, ())
    """Networks (CIDR) that the model may reach; none by default."""
    devices: tuple[str, ...] = declare(DEVICES, ())
    """Devices (paths) that the model may use; none by default."""
    cache: bool = declare(FLAG, False)
    """Whether the model gets a directory to write to."""
    executable_memory: bool = declare(FLAG, False, in_settings=True)
    """Whether the model may run code that it makes while it runs, as numba, cffi's callbacks and JAX do."""
    compile_cache: int = declare(size("256M"), 0, in_settings=256 * 1024**2)
    """Bytes for what libraries compile; 0 is no place for it."""
    max_body: int = declare(size("64M"), 64 * 1024**2)
    """Bytes of one request."""
    batch: bool = declare(FLAG, False)
    """Whether requests that wait for the model may be answered with one prediction."""
    try_page: bool = declare(FLAG, True)
    """Whether a server shows a page in the browser on which people try the model."""
    watchdog: int = declare(seconds(0), 60)
    """Seconds within which a server that serves must say that its event loop runs; 0 is no limit."""
    idle_timeout: int = declare(seconds(0), 0)
    """Seconds without a request after which a server ends, to be started by the next one; 0 is never."""

    @property
    def opened(self) -> str:
        """What of its sandbox is open, in words; empty when nothing is.

        It is a line of the unit, and in the status: people see at a glance which models can do more than others.
        """
        opened: list[str] = []
        if self.network:
            opened.append(f"network {' '.join(self.network)}")
        if self.devices:
            opened.append(f"devices {' '.join(self.devices)}")
        if self.cache:
            opened.append("a cache")
        return "; ".join(opened)

    @property
    def closed(self) -> str:
        """What of its sandbox is closed that most models find open, in words; empty when nothing is."""
        return "" if self.executable_memory else "it may not run code that it makes (deploy.executable_memory)"

    def digest(self, source: str, generation: int = 0) -> str:
        """Eight hex digits that tell releases of a version from one another.

        They stand for these parameters, for where the version comes from (a version that was deleted and registered
        anew has another source), and for how often a person asked for it. Only what differs from the defaults above
        counts, so that a parameter that a later product adds renames no release.
        """
        # The names of the fields and this form are on the disks of installed hosts: a change of either is a new
        # release of every model. So the order of the fields does not count.
        chosen: dict[str, object] = {"source": source, **_chosen(self)}
        if generation:
            chosen["generation"] = generation
        return _digest(chosen)[:8]


@dataclass(frozen=True)
class Rollout:
    """How a release comes into service and in how many copies; a difference in this makes no other release."""

    replicas: int = declare(whole_number(1, MAX_REPLICAS), 1)
    """Servers that share the socket."""
    strategy: Strategy = declare(choice(Strategy), "hand-over")
    """`hand-over` starts it beside the one that serves, `recreate` after that one has ended."""
    soak: int = declare(seconds(0), 120)
    """Seconds under traffic during which the release before it is kept ready; 0 is none."""
    max_error_rate: int = declare(whole_number(0, 100, "of percent"), 10)
    """Percent of its answers in the soak that may be errors of its own."""
    brokers: tuple[str, ...] = declare(BROKERS, ())
    """Servers of the NATS broker whose requests are answered, too; none by default."""


@dataclass(frozen=True)
class Release:
    """One model version with one set of parameters, wanted for one deployment."""

    name: str
    version: int
    source: str
    parameters: Parameters
    rollout: Rollout = Rollout()
    selected_by: str = ""
    also_matching: tuple[int, ...] = ()
    generation: int = 0
    """How often a person asked for a rollout of what runs already."""
    tags: tuple[tuple[str, str], ...] = ()
    """Its `deploy.` tags, without the prefix, sorted."""

    # Both digests are asked for again and again in each pass, and nothing that they are made from ever changes.
    @cached_property
    def asked(self) -> str:
        """Sixteen hex digits that stand for what the registry and people asked for, without this host's settings.

        A change of the settings alone makes another `id` and the same `asked`: it replaces no serving release. The
        fields of `Rollout` do not count, since they make no other release.
        """
        of_rollout = {field.name for field in fields(Rollout)}
        tags = [(key, text) for key, text in self.tags if key not in of_rollout]
        canonical = json.dumps([self.source, tags, self.generation], separators=(",", ":"))
        return hashlib.sha256(canonical.encode(errors="replace")).hexdigest()[:16]

    @cached_property
    def id(self) -> ReleaseId:
        """The release's name, `<version>.<digest8 of the parameters>`."""
        digest = self.parameters.digest(self.source, self.generation)
        return ReleaseId(f"{self.version}.{digest}")

    @cached_property
    def agreed(self) -> str:
        """Thirty-two hex digits that stand for all that a person agrees to: what the release is, and its rollout.

        The eight digits of `id` tell releases apart that nobody made to be mistaken for one another. Whoever can choose
        a source can find one with the same eight. The number of replicas does not count: it is no part of the plan.
        """
        rollout = {name: value for name, value in _chosen(self.rollout).items() if name != "replicas"}
        everything = [self.name, self.version, self.source, _chosen(self.parameters), rollout, self.generation]
        return _digest(everything)[:32]


@dataclass(frozen=True)
class Refused:
    """A selected version that this host will not run as asked, and the sentence that says why."""

    name: str
    version: int
    why: str
    reason: Reason = Reason.REFUSED
    """`NOT_ALLOWED` when the model is none of this host's at all."""


def _chosen(values: Parameters | Rollout) -> dict[str, object]:
    """Return what differs from the defaults, by its name: a field that a later product adds changes no digest."""
    found = {field.name: (getattr(values, field.name), field.default) for field in fields(values)}
    return {name: value for name, (value, default) in found.items() if value != default}


def _digest(content: object) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode(errors="replace")).hexdigest()
