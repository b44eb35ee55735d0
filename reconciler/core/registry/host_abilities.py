"""What a host says in the registry of itself: what a model must be like that it deploys, for whoever makes one.

`pipeline.py` reads it before anything is promoted. Everybody who may read the registry reads it, too: it names no
address but the public one, no network, no device and no secret.
"""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel, ValidationError

from reconciler.core.registry.host_tags import PREFIX as DEPLOYED
from reconciler.core.registry.host_tags import Host

EXPERIMENT = "mlflow-systemd"
"""The experiment whose tags these are, one for each host. It has no runs."""
PREFIX = "host."
MAX_VALUE = 5000
"""Characters; what every MLflow since 2.0 takes for a tag of an experiment."""
_SCHEMA = 1
_SEEN = "%Y-%m-%dT%H:%MZ"


@dataclass(frozen=True)
class Abilities:
    """What a host can do for a model, and what it demands. Its fields are the keys of the document."""

    pythons: tuple[str, ...]
    """Minor versions of Python that it has, the oldest first."""
    downloads_pythons: bool
    """Whether it gets other ones by itself."""
    selectors: tuple[str, ...]
    """What it follows: `stage:…`, `alias:…`."""
    names: tuple[str, ...] | None
    """Models that it deploys, as names or patterns with `*`; None where there are too many to tell."""
    tags: tuple[str, ...]
    """Keys of `deploy.` tags that it takes."""
    require_example: bool
    """Whether it refuses a version without a logged example."""
    require_hashes: bool
    """Whether it installs only packages whose hash the model lists."""
    allow_source: bool
    """Whether it builds packages that have no wheel."""
    max_size: int
    """Bytes of a model version; 0 is no limit."""
    memory_max: int
    """Bytes of one server whose model has no tag of its own; 0 is no limit."""
    start_timeout: int
    """Seconds that such a server may take to load."""
    public_url: str
    """Where clients ask its models, with `{name}` and `{port}`; "" where the host does not say."""


class _Told(BaseModel):
    """The part of a former document that says who wrote it and when; its own fields are compared as they are."""

    seen: str
    host: str


def host_key(host: Host) -> str:
    """Name the tag of a host, which has the name that its other tags have."""
    return f"{PREFIX}{host.key.removeprefix(DEPLOYED)}"


def written(abilities: Abilities, host: Host, now: datetime) -> str:
    """Write the document of a host: one line of JSON, of at most MAX_VALUE characters."""
    document = {"schema": _SCHEMA, "seen": f"{now:{_SEEN}}", "host": host.id, **asdict(abilities)}
    text = _text(document)
    return text if len(text) <= MAX_VALUE else _text({**document, "names": None})


def is_current(text: str, abilities: Abilities, host: Host, now: datetime, patience: timedelta) -> bool:
    """Tell whether a document that is in the registry says this, and has been confirmed within `patience`.

    Anybody may have written it.
    """
    try:
        told = _Told.model_validate_json(text)
        seen = datetime.strptime(told.seen, _SEEN).replace(tzinfo=UTC)
    except (ValidationError, ValueError):
        return False
    return timedelta(0) <= now - seen < patience and text == written(abilities, host, seen)


def _text(document: dict[str, object]) -> str:
    return json.dumps(document, separators=(",", ":"))
