"""What a deployment's bridge to NATS is rendered from."""

from dataclasses import asdict, dataclass

from reconciler.core.planner import unit_values
from reconciler.core.planner.actions import Render, Value
from reconciler.core.units import addresses, names, paths
from reconciler.core.units.unit_facts import UnitFacts

_IDLE_MEMORY = 192 * 1024**2
"""Bytes of a bridge that answers nothing."""
_LONGEST_DRAIN = 60
"""Seconds that a bridge which ends has for what it has taken from the broker."""
CREDENTIALS = (
    "nats.username",
    "nats.password",
    "nats.token",
    "nats.nkey",
    "nats.creds",
    "nats.ca",
    "nats.client-certificate",
    "recordings.aws",
    "recordings.ca",
)
"""Credentials of the host that a bridge is given, as far as they are there."""
_COPIES = 3
"""How often a recording is in its memory: as it came, in the request to the server, and on its way there."""


@dataclass(frozen=True)
class BridgeSettings:
    """How this host answers over NATS: the settings of the section `nats`, whichever deployment it is for."""

    jetstream: str = "auto"
    result_subject: str = "result_updates"
    plain_text: bool = False
    bucket: str = "audio-files"
    s3_endpoint_url: str = ""
    s3_region: str = ""
    s3_plain_http: bool = False
    recordings: tuple[str, ...] = ()
    optional_recordings: tuple[str, ...] = ()
    extension: str = ".wav"
    concurrency: int = 4
    deadline: int = 600
    attempts: int = 3
    max_message: int = 1024**2
    """Bytes."""
    max_recording: int = 32 * 1024**2
    """Bytes."""
    keep_results: int = 86_400
    """Seconds."""

    @property
    def memory_max(self) -> int:
        """Bytes that a bridge may take: for as many requests at once as it answers, at their largest."""
        of_request = self.max_message + self.max_recording * max(1, len(self.recordings))
        return _IDLE_MEMORY + self.concurrency * of_request * _COPIES


def bridge(
    name: str, brokers: tuple[str, ...], settings: BridgeSettings, socket_group: str, *, beside: bool = False
) -> Render:
    """The service that takes a deployment's requests from NATS, asks its server, and publishes the results.

    `socket_group`: the group of the unix sockets, which the bridge needs to ask. `beside`: whether it starts by leaving
    the requests to an older server that answers them.
    """
    values: dict[str, Value] = {
        key: list(value) if isinstance(value, tuple) else value for key, value in asdict(settings).items()
    }
    values |= {
        "name": name,
        "brokers": list(brokers),
        "memory_max": settings.memory_max,
        "socket": names.socket_unit(name),
        "socket_path": addresses.socket_path(name),
        "socket_group": socket_group,
        "beside": beside,
        "launcher": paths.BRIDGE_LAUNCHER,
        "drain_limit": min(settings.deadline, _LONGEST_DRAIN),
        "credentials": list(CREDENTIALS),
    }
    facts = UnitFacts(brokers=brokers)
    return unit_values.render(name, names.bridge_unit(name), "nats/nats-bridge.service.j2", values, facts)
