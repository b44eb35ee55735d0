"""What a deployment should run: a model version with one set of parameters, or the reason why it cannot be."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import Literal

from reconciler.core.state.reason import Reason
from reconciler.core.units.names import ReleaseId

EnvironmentKind = Literal["model", "host"]
Strategy = Literal["hand-over", "recreate"]


@dataclass(frozen=True)
class Parameters:
    """How a model version is run. Any difference makes another release."""

    runtime: str = "native"
    environment: EnvironmentKind = "model"
    start_timeout: int = 300
    """Seconds from start until the model is loaded and its example answered."""
    stop_timeout: int = 30
    """Seconds for the requests in flight when a server stops."""
    memory_max: int = 0
    """Bytes; 0 is no limit."""
    cpu_quota: int = 0
    """Percent of one CPU; 0 is no limit."""
    max_body: int = 64 * 1024 * 1024
    """Bytes of one request."""
    watchdog: int = 60
    """Seconds within which a server that serves must say that its event loop runs; 0 is no limit."""
    idle_timeout: int = 0
    """Seconds without a request after which a server ends, to be started by the next one; 0 is never."""
    tasks_max: int = 0
    """Processes and threads; 0 is systemd's own limit."""
    network: tuple[str, ...] = ()
    """Networks (CIDR) that the model may reach; none by default."""
    devices: tuple[str, ...] = ()
    """Devices (paths) that the model may use; none by default."""
    cache: bool = False
    """Whether the model gets a directory to write to."""

    @property
    def opened(self) -> str:
        """What of the sandbox is open, in words; empty when nothing is.

        It is shown in the status, and written into the unit file.
        """
        opened = []
        if self.network:
            opened.append(f"network {' '.join(self.network)}")
        if self.devices:
            opened.append(f"devices {' '.join(self.devices)}")
        if self.cache:
            opened.append("a cache")
        return "; ".join(opened)

    def digest(self, source: str, generation: int = 0) -> str:
        """Return eight hex digits that stand for these parameters, for where the version comes from and for how often a
        person asked for it.

        A version that was deleted and registered anew has another source.
        """
        # Invariant: hosts that are upgraded compute the same digest as before, or all their releases would be new ones.
        # So only what differs from the defaults above counts: a parameter that a later product adds renames no release.
        # The defaults themselves must stay as they are, and so must the order and the spaces of the JSON.
        chosen: dict[str, object] = {}
        for key, value in asdict(self).items():
            default = getattr(Parameters, key)
            if value != default:
                chosen[key] = value
        if generation:
            chosen["generation"] = generation
        canonical = json.dumps({**chosen, "source": source}, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode(errors="replace")).hexdigest()[:8]


@dataclass(frozen=True)
class Rollout:
    """How a release comes into service and in how many copies; a difference in this makes no other release."""

    strategy: Strategy = "hand-over"
    """`hand-over` starts it beside the one that serves, `recreate` after that one has ended."""
    soak: int = 120
    """Seconds under traffic during which the release before it is kept ready."""
    max_error_rate: int = 10
    """Percent of its answers in the soak that may be errors of its own."""
    replicas: int = 1
    """Servers that share the socket."""


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

    @property
    def asked(self) -> str:
        """Sixteen hex digits that stand for what the registry and people asked for, without this host's settings."""
        # The fields of `Rollout` make no other release, and their tags none either.
        of_rollout = {field.name for field in fields(Rollout)}
        tags = [(key, value) for key, value in self.tags if key not in of_rollout]
        canonical = json.dumps([self.source, tags, self.generation], separators=(",", ":"))
        return hashlib.sha256(canonical.encode(errors="replace")).hexdigest()[:16]

    @property
    def id(self) -> ReleaseId:
        """The release's name, `<version>.<digest8 of the parameters>`."""
        return ReleaseId(f"{self.version}.{self.parameters.digest(self.source, self.generation)}")


@dataclass(frozen=True)
class Refused:
    """A selected version that this host will not run as asked, and the sentence that says why."""

    name: str
    version: int
    why: str
    reason: Reason = Reason.REFUSED
    """`NOT_ALLOWED` when the model is none of this host's at all."""
