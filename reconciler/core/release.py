"""What a deployment should run: a model version with one set of parameters, or the reason why it cannot be."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from reconciler.core.sizes import CpuQuota, Size
from reconciler.core.snapshot import TAG_PREFIX, SelectedVersion

EnvironmentKind = Literal["model", "host"]


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

    def digest(self, source: str) -> str:
        """Eight hex digits that stand for these parameters, and for where the version comes from.

        Only what differs from the defaults above counts, so that a parameter that a later product adds renames no
        release; the defaults themselves must stay as they are. A version that was deleted and registered anew has
        another source.
        """
        chosen = {key: value for key, value in asdict(self).items() if value != getattr(Parameters, key)}
        canonical = json.dumps({**chosen, "source": source}, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode(errors="replace")).hexdigest()[:8]


@dataclass(frozen=True)
class Release:
    """One model version with one set of parameters, wanted for one deployment."""

    name: str
    version: int
    source: str
    parameters: Parameters
    selected_by: str = ""
    also_matching: tuple[int, ...] = ()

    @property
    def id(self) -> str:
        """The release's name, `<version>.<digest8 of the parameters>`."""
        return f"{self.version}.{self.parameters.digest(self.source)}"


@dataclass(frozen=True)
class Refused:
    """A selected version that this host will not run as asked, and the sentence that says why."""

    name: str
    version: int
    why: str


_TAG_TYPES: Mapping[str, TypeAdapter[object]] = {
    "environment": TypeAdapter(EnvironmentKind),
    "start_timeout": TypeAdapter(int),
    "stop_timeout": TypeAdapter(int),
    "memory_max": TypeAdapter(Size),
    "cpu_quota": TypeAdapter(CpuQuota),
    "max_body": TypeAdapter(Size),
}
_WANTED = {
    "environment": "'model' or 'host'",
    "start_timeout": "a whole number of seconds from 1 to 86400",
    "stop_timeout": "a whole number of seconds from 1 to 86400",
    "memory_max": "a size such as 512M or 4G",
    "cpu_quota": "a percentage such as 150%",
    "max_body": "a size such as 64M",
}
SETTABLE = frozenset(_TAG_TYPES)


def wanted_release(selected: SelectedVersion, defaults: Parameters, allowed: frozenset[str]) -> Release | Refused:
    """Apply a version's `deploy.` tags to the host's defaults, as far as the host's policy allows them."""
    changes: dict[str, object] = {}
    for key, text in sorted(selected.settings.items()):
        tag = f"{TAG_PREFIX}{key[:60]}"
        if key not in SETTABLE:
            known = ", ".join(TAG_PREFIX + known for known in sorted(SETTABLE & allowed))
            return Refused(
                selected.name, selected.version, f"cannot use the tag {tag!r}: no such setting; this host knows {known}"
            )
        if key not in allowed:
            return Refused(
                selected.name,
                selected.version,
                f"cannot use the tag {tag}: this host's policy does not allow it; remove the tag or ask for it",
            )
        try:
            value = _TAG_TYPES[key].validate_python(text)
        except ValidationError:
            value = None
        if value is None or (key.endswith("_timeout") and not 1 <= int(str(value)) <= 86_400):
            return Refused(
                selected.name,
                selected.version,
                f"cannot use the tag {tag}={text[:60]!r}: it should be {_WANTED[key]}; set it again in the registry",
            )
        changes[key] = value
    parameters = Parameters(**{**asdict(defaults), **changes})
    return Release(
        name=selected.name,
        version=selected.version,
        source=selected.source,
        parameters=parameters,
        selected_by=selected.selected_by,
        also_matching=selected.also_matching,
    )
