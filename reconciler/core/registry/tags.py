"""The settings that a data scientist gives a model by tags `deploy.<key>`: which there are and what they may say."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, StringConstraints, TypeAdapter, ValidationError

from reconciler.core.registry.sandbox_openings import Device, Network
from reconciler.core.state.release import EnvironmentKind, Rollout, Strategy
from reconciler.core.state.snapshot import TAG_PREFIX
from reconciler.core.text.sizes import CpuQuota, Size
from reconciler.core.units.names import MAX_REPLICAS

MAX_TASKS = 32_768
RUNTIME_PATTERN = r"^[a-z][a-z0-9_-]{0,31}$"


class TagError(Exception):
    """A tag that cannot be used; the message is the deployment's reason."""


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


def _words(value: object) -> object:
    return value.replace(",", " ").split() if isinstance(value, str) else value


def _in_order(items: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(items)))


_Networks = Annotated[tuple[Network, ...], BeforeValidator(_words), AfterValidator(_in_order)]
_Devices = Annotated[tuple[Device, ...], BeforeValidator(_words), AfterValidator(_in_order)]
_INTEGER: TypeAdapter[object] = TypeAdapter(int)
_A_DAY = 86_400


def _seconds(lowest: int) -> _Tag:
    return _Tag(_INTEGER, f"a whole number of seconds from {lowest} to {_A_DAY}", lowest, _A_DAY)


_TAGS: Mapping[str, _Tag] = {
    "runtime": _Tag(TypeAdapter(Annotated[str, StringConstraints(pattern=RUNTIME_PATTERN)]), "a runtime's name"),
    "environment": _Tag(TypeAdapter(EnvironmentKind), "'model' or 'host'"),
    "start_timeout": _seconds(1),
    "stop_timeout": _seconds(1),
    "memory_max": _Tag(TypeAdapter(Size), "a size such as 512M or 4G"),
    "cpu_quota": _Tag(TypeAdapter(CpuQuota), "a percentage such as 150%"),
    "tasks_max": _Tag(_INTEGER, f"a whole number from 16 to {MAX_TASKS}", 16, MAX_TASKS),
    "max_body": _Tag(TypeAdapter(Size), "a size such as 64M"),
    "watchdog": _seconds(0),
    "idle_timeout": _seconds(0),
    "strategy": _Tag(TypeAdapter(Strategy), "'hand-over' or 'recreate'"),
    "soak": _seconds(0),
    "max_error_rate": _Tag(_INTEGER, "a whole number of percent from 0 to 100", 0, 100),
    "replicas": _Tag(_INTEGER, f"a whole number from 1 to {MAX_REPLICAS}", 1, MAX_REPLICAS),
    "network": _Tag(TypeAdapter(_Networks), "networks such as 10.1.2.0/24, separated by spaces"),
    "devices": _Tag(TypeAdapter(_Devices), "devices such as /dev/nvidia0, separated by spaces"),
    "cache": _Tag(TypeAdapter(bool), "'true' or 'false'"),
}
SETTABLE = frozenset(_TAGS)
OF_ROLLOUT = frozenset(field.name for field in fields(Rollout))


def read_tags(settings: Mapping[str, str], allowed: frozenset[str]) -> dict[str, object]:
    """Read what a version's tags say, by key. Raises TagError at the first that this host does not know or allow."""
    changes: dict[str, object] = {}
    for key, text in sorted(settings.items()):
        tag = f"{TAG_PREFIX}{key[:60]}"
        if key not in SETTABLE:
            known = ", ".join(TAG_PREFIX + known for known in sorted(SETTABLE & allowed)) or "none"
            raise TagError(f"cannot use the tag {tag!r}: no such setting; this host knows {known}")
        if key not in allowed:
            raise TagError(
                f"cannot use the tag {tag}: this host's policy does not allow it; remove the tag or ask for it"
            )
        if (value := _TAGS[key].read(text)) is None:
            wanted = _TAGS[key].wanted
            raise TagError(
                f"cannot use the tag {tag}={text[:60]!r}: it should be {wanted}; set it again in the registry"
            )
        changes[key] = value
    return changes
