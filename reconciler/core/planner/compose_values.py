"""What the units of the runtime `compose` are rendered from, beside what every server has."""

from dataclasses import dataclass
from urllib.parse import urlsplit

from reconciler.core.planner.actions import Value
from reconciler.core.state.release import COMPOSE, Release
from reconciler.core.units import paths

CREDENTIALS = ("compose.env", "nats.username", "nats.password", "nats.token", "recordings.aws")
"""Credentials of the host that a server in containers is given, as far as they are there."""
_ENGINE_UNITS = {"docker": "docker.service", "podman": "podman.socket"}


@dataclass(frozen=True)
class ComposeSettings:
    """How this host runs releases in containers, whichever deployment it is for."""

    engine: str = "docker"
    image: str = ""
    base: str = ""
    command: tuple[str, ...] = ()
    http_socket: str = ""
    user: str = "65532:65532"
    network: str = "none"
    # Of other sections: what the image of SPIRA's first server is told by its environment.
    registry_uri: str = ""
    result_subject: str = ""
    bucket: str = ""
    s3_endpoint_url: str = ""
    extension: str = ""

    @property
    def asks_itself(self) -> bool:
        """Whether the image takes its requests from a broker by itself, as it has no address to be asked at."""
        return bool(self.image) and not self.http_socket


def runs_in_containers(release: Release) -> bool:
    """Whether a release has the runtime `compose`."""
    return release.parameters.runtime == COMPOSE


def takes_requests_itself(release: Release, settings: ComposeSettings) -> bool:
    """Whether a release's container takes requests from the broker, so that no bridge may."""
    return runs_in_containers(release) and settings.asks_itself


def engine_values(settings: ComposeSettings) -> dict[str, Value]:
    """Return what tells the engine."""
    return {"engine": settings.engine, "engine_unit": _ENGINE_UNITS[settings.engine]}


def server_values(release: Release, replica: int, settings: ComposeSettings) -> dict[str, Value]:
    """Return what a server in containers is rendered from, beside what every server has."""
    number = f".{replica}" if replica > 1 else ""
    values: dict[str, Value] = {
        "container_launcher": paths.CONTAINER_LAUNCHER,
        # Of one such directory each: replicas of a release have containers of their own.
        "compose_directory": f"mlflow-compose/{release.name}@{release.id}{number}",
        "templates": [paths.OWN_TEMPLATES, paths.SHIPPED_TEMPLATES],
        "base": settings.base,
        "image": settings.image,
        "http_socket": settings.http_socket,
        "command": list(settings.command),
        "variables": _first_servers_variables(release, settings) if settings.asks_itself else [],
        "asks_itself": settings.asks_itself,
        "broker": next(iter(release.rollout.brokers), "") if settings.asks_itself else "",
        "container_user": settings.user,
        "container_network": settings.network,
        "credentials": list(CREDENTIALS if settings.asks_itself else CREDENTIALS[:1]),
    }
    return engine_values(settings) | values


def _first_servers_variables(release: Release, settings: ComposeSettings) -> list[str]:
    """Return the environment of SPIRA's first server, but for what is secret, as NAME=VALUE."""
    variables = {
        "receiving_channel": f"{release.name}-topic",
        "central_channel": settings.result_subject,
        # Host and port: that server adds the rest.
        "minio_conn_url": urlsplit(settings.s3_endpoint_url).netloc,
        "bucket_name": settings.bucket,
        "default_extension": settings.extension,
        "mlflow_conn_url": settings.registry_uri,
        # The version, and not its stage: what a host runs changes by a rollout only.
        "model_path": f"models:/{release.name}/{release.version}",
        "loop_interval": "1",
    }
    return [f"{name}={value}" for name, value in variables.items()]
