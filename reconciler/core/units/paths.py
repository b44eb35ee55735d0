"""Where things are on a host. The deploy home's parents are root's; its leaves belong to the user of the last step."""

PRODUCT = "/opt/mlflow-reconciler"
SERVER_LAUNCHER = f"{PRODUCT}/bin/modelserver"
STEP_LAUNCHER = f"{PRODUCT}/bin/release-step"
BRIDGE_LAUNCHER = f"{PRODUCT}/bin/nats-bridge"
CONTAINER_LAUNCHER = f"{PRODUCT}/bin/containerserver"
CHECKER = f"{PRODUCT}/bin/check-files"
TEMP_LAUNCHER = f"{PRODUCT}/bin/server-temp"
PRODUCT_VENV = f"{PRODUCT}/venv"
SHIPPED_TEMPLATES = f"{PRODUCT}/templates"
OWN_TEMPLATES = "/etc/mlflow-reconciler/templates"

ENGINE_SOCKETS = {"docker": "/run/docker.sock", "podman": "/run/podman/podman.sock"}
"""Where container engines listen for root, by the setting `compose.engine`."""
COMPOSE_COMMANDS = (
    ("/usr/bin/docker", "compose"),
    # The plug-in is a program by itself: with Podman there may be no docker command.
    ("/usr/libexec/docker/cli-plugins/docker-compose",),
    ("/usr/lib/docker/cli-plugins/docker-compose",),
    ("/usr/local/lib/docker/cli-plugins/docker-compose",),
    ("/usr/bin/docker-compose",),
)
"""Forms of docker compose, version 2 before version 1; the first that works is used."""

# systemd takes a unit from the first of these that has it; ours are in the first one.
UNIT_DIRECTORY = "/etc/systemd/system"
OTHER_UNIT_DIRECTORIES = ("/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system")
EXPORTED_DIRECTORY = "/run/systemd/units"
STATE_DIRECTORY = "/var/lib/mlflow-reconciler"
PINS = f"{STATE_DIRECTORY}/pins"
"""Digests of what was fetched and built first, one file of root's each; shown to the units that compare."""
SERVER_TEMP = "/run/mlflow-temp"
"""One file system for each server that runs, which that one sees as its /tmp, and nobody else sees."""
SERVER_COMPILED = "/var/cache/private/mlflow-compiled"
"""One directory for each release, with what its first server compiled before it was ready."""
RUN_DIRECTORY = "/run/mlflow-reconciler"
REGISTRY_FILE = "/run/mlflow-registry-agent/registry.json"
FLEET_FILE = "/run/mlflow-registry-agent/fleet.json"

# The users are made by systemd/mlflow-reconciler.sysusers.conf.
AGENT_USER = "mlflow-agent"
DEPLOY_USER = "mlflow-deploy"
FILES_USER = "mlflow-files"
"""Owns what was verified. Nothing runs as this user but verifications, which can write nowhere."""
DEPLOY_HOME = "/var/lib/mlflow-deploy"
UNPACKED_PYTHON = f"{DEPLOY_HOME}/pythons"
"""Where a build unpacks an interpreter that it downloads; only its own unit sees something there."""


def release_state(name: str, version: int) -> str:
    """The directory of a version's files as StateDirectory= names it, relative to /var/lib.

    Releases of the same version share it: they differ in how it is run.
    """
    return f"mlflow-deploy/model_deploys/{name}/releases/{version}"


def environment_state(environment: str) -> str:
    """An environment's directory as StateDirectory= names it, relative to /var/lib.

    `environment`: its digest. Versions with the same requirements share it.
    """
    return f"mlflow-deploy/environments/{environment}"


def cache_directory(name: str, release: str, replica: int) -> str:
    """A server's own directory to write to, as CacheDirectory= names it, relative to /var/cache.

    Each replica has one: they run as different users.
    """
    number = f".{replica}" if replica > 1 else ""
    return f"mlflow-models/{name}@{release}{number}"
