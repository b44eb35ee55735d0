"""What a deployment should run: a model version with one set of parameters, or the reason why it cannot be."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from reconciler.core.names import MAX_REPLICAS
from reconciler.core.sizes import CpuQuota, Size
from reconciler.core.snapshot import TAG_PREFIX, SelectedVersion

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

    def digest(self, source: str, generation: int = 0) -> str:
        """Eight hex digits that stand for these parameters, for where the version comes from and for how often a person
        asked for it.

        Only what differs from the defaults above counts, so that a parameter that a later product adds renames no
        release; the defaults themselves must stay as they are. A version that was deleted and registered anew has
        another source.
        """
        chosen = {key: value for key, value in asdict(self).items() if value != getattr(Parameters, key)}
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

    @property
    def id(self) -> str:
        """The release's name, `<version>.<digest8 of the parameters>`."""
        return f"{self.version}.{self.parameters.digest(self.source, self.generation)}"


@dataclass(frozen=True)
class Refused:
    """A selected version that this host will not run as asked, and the sentence that says why."""

    name: str
    version: int
    why: str


@dataclass(frozen=True)
class _Tag:
    """What the text of a tag may be."""

    type: TypeAdapter[object]
    wanted: str
    lowest: int | None = None
    highest: int | None = None

    def read(self, text: str) -> object:
        """Read the value; None when the text is none."""
        try:
            value = self.type.validate_python(text)
        except ValidationError:
            return None
        in_range = self.lowest is None or self.highest is None or self.lowest <= int(str(value)) <= self.highest
        return value if in_range else None


_INTEGER: TypeAdapter[object] = TypeAdapter(int)
_A_DAY = 86_400


def _seconds(lowest: int) -> _Tag:
    return _Tag(_INTEGER, f"a whole number of seconds from {lowest} to {_A_DAY}", lowest, _A_DAY)


_TAGS: Mapping[str, _Tag] = {
    "environment": _Tag(TypeAdapter(EnvironmentKind), "'model' or 'host'"),
    "start_timeout": _seconds(1),
    "stop_timeout": _seconds(1),
    "memory_max": _Tag(TypeAdapter(Size), "a size such as 512M or 4G"),
    "cpu_quota": _Tag(TypeAdapter(CpuQuota), "a percentage such as 150%"),
    "max_body": _Tag(TypeAdapter(Size), "a size such as 64M"),
    "watchdog": _seconds(0),
    "idle_timeout": _seconds(0),
    "strategy": _Tag(TypeAdapter(Strategy), "'hand-over' or 'recreate'"),
    "soak": _seconds(0),
    "max_error_rate": _Tag(_INTEGER, "a whole number of percent from 0 to 100", 0, 100),
    "replicas": _Tag(_INTEGER, f"a whole number from 1 to {MAX_REPLICAS}", 1, MAX_REPLICAS),
}
SETTABLE = frozenset(_TAGS)
_OF_ROLLOUT = frozenset(field.name for field in fields(Rollout))


def wanted_release(
    selected: SelectedVersion,
    defaults: Parameters,
    allowed: frozenset[str],
    rollout: Rollout = Rollout(),
    generation: int = 0,
) -> Release | Refused:
    """Apply a version's `deploy.` tags to the host's defaults, as far as the host's policy allows them."""
    changes: dict[str, object] = {}

    def refused(why: str) -> Refused:
        return Refused(selected.name, selected.version, why)

    for key, text in sorted(selected.settings.items()):
        tag = f"{TAG_PREFIX}{key[:60]}"
        if key not in SETTABLE:
            known = ", ".join(TAG_PREFIX + known for known in sorted(SETTABLE & allowed))
            return refused(f"cannot use the tag {tag!r}: no such setting; this host knows {known}")
        if key not in allowed:
            return refused(
                f"cannot use the tag {tag}: this host's policy does not allow it; remove the tag or ask for it"
            )
        if (value := _TAGS[key].read(text)) is None:
            wanted = _TAGS[key].wanted
            return refused(
                f"cannot use the tag {tag}={text[:60]!r}: it should be {wanted}; set it again in the registry"
            )
        changes[key] = value
    of_rollout = {key: value for key, value in changes.items() if key in _OF_ROLLOUT}
    of_release = {key: value for key, value in changes.items() if key not in _OF_ROLLOUT}
    parameters = Parameters(**{**asdict(defaults), **of_release})
    rollout = Rollout(**{**asdict(rollout), **of_rollout})
    if parameters.idle_timeout and rollout.replicas > 1:
        return refused(
            f"cannot run {rollout.replicas} replicas that end when they are idle: one of them would be enough then; "
            "set deploy.replicas or deploy.idle_timeout, not both"
        )
    return Release(
        name=selected.name,
        version=selected.version,
        source=selected.source,
        parameters=parameters,
        rollout=rollout,
        selected_by=selected.selected_by,
        also_matching=selected.also_matching,
        generation=generation,
    )
