"""What each unit is rendered from: its template, its values and the facts that are read back from it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import lru_cache

from reconciler.core.planner.actions import Render, Value
from reconciler.core.planner.compose_values import (
    ComposeSettings,
    runs_in_containers,
    server_values,
    takes_requests_itself,
)
from reconciler.core.state.release import Parameters, Release
from reconciler.core.units import addresses, names, paths
from reconciler.core.units.addresses import Listening
from reconciler.core.units.logged_example import LoggedExample
from reconciler.core.units.names import HOST_ENVIRONMENT, ReleaseId
from reconciler.core.units.unit_facts import NO_FACTS, UnitFacts

TEMP_SIZE = 1024**3
"""Bytes of /tmp, and as many of /dev/shm, of a server whose memory has no limit; else it is a quarter of that."""

HANDED_OVER = paths.FILES_USER
"""The user to whom verifying hands the files over; a part of what it is done for.

Files that were verified when they stayed with the user of the other steps are verified once more.
"""


@dataclass(frozen=True)
class StepSettings:
    """What the release steps are told beside the release itself."""

    registry_uri: str
    workspace: str
    registry_timeout: int
    plain_http: bool
    fetch_deadline: int
    fetch_schemes: tuple[str, ...]
    fetch_hosts: tuple[str, ...]
    s3_endpoint_url: str
    s3_region: str
    s3_plain_http: bool
    max_size: int
    max_files: int
    keep_free: int
    verify_command: tuple[str, ...]
    build_deadline: int
    index_url: str
    find_links: tuple[str, ...]
    offline: bool
    allow_source: bool
    require_hashes: bool
    ignore_index_options: bool
    pythons: str
    python_mirror: str
    python_list: str


def render(
    deployment: str, unit: str, template: str, values: Mapping[str, Value], facts: UnitFacts = NO_FACTS
) -> Render:
    """Make the action that renders a unit, with the facts that all units have."""
    values = {"unit": unit, **values}
    # The unit of a step is written again when this digest is another than that in its file. That of a server is not: it
    # stays as it was rolled out (docs/adr/0004).
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    owner = deployment if names.deployment_of(unit) else ""
    return Render(deployment, unit, template, values, replace(facts, deployment=owner, digest=digest))


def _release_values(release: Release) -> dict[str, Value]:
    return _version_values(release.name, release.version)


def _version_values(name: str, version: int) -> dict[str, Value]:
    state = paths.release_state(name, version)
    return {
        "name": name,
        "version": version,
        "user": paths.DEPLOY_USER,
        "step": paths.STEP_LAUNCHER,
        "release_state": state,
        "release_dir": f"/var/lib/{state}",
    }


def _parameter_values(parameters: Parameters) -> dict[str, Value]:
    """Hand a release's parameters to the template of its server, each under its own name."""
    values: dict[str, Value] = {}
    for key, value in asdict(parameters).items():
        values[key] = list(value) if isinstance(value, tuple) else value
    # They have done their work: one has chosen the folder of templates, the other the environment's directory.
    del values["runtime"], values["environment"]
    return values


def _digest(*what: str) -> str:
    """Sixteen hex digits that stand for what a step is done for: done for something else, it is done again."""
    return hashlib.sha256("\0".join(what).encode(errors="replace")).hexdigest()[:16]


def pin(name: str, version: int, source: str) -> str:
    """What a digest of root's over a version's files is called."""
    return f"{name}.{version}.{source}"


def _pin(name: str, version: int, source: str) -> str:
    return f"{paths.PINS}/{pin(name, version, source)}"


def source_of(release: Release) -> str:
    """Tell one origin of a version's files from another: a registry may give a number again."""
    return _digest(release.source)


def fetch(release: Release, settings: StepSettings) -> Render:
    """The unit that downloads the release's artifacts and works out its environment's digest."""
    values = _release_values(release) | {
        "source": release.source,
        "environment": release.parameters.environment,
        "registry_uri": settings.registry_uri,
        "workspace": settings.workspace,
        "registry_timeout": settings.registry_timeout,
        "deadline": settings.fetch_deadline,
        "plain_http": settings.plain_http,
        "schemes": list(settings.fetch_schemes),
        "hosts": list(settings.fetch_hosts),
        "s3_endpoint_url": settings.s3_endpoint_url,
        "s3_region": settings.s3_region,
        "s3_plain_http": settings.s3_plain_http,
        "max_size": settings.max_size,
        "max_files": settings.max_files,
        "keep_free": settings.keep_free,
        "require_hashes": settings.require_hashes,
        "ignore_index_options": settings.ignore_index_options,
        "pin": _pin(release.name, release.version, source_of(release)),
    }
    unit = names.fetch_unit(release.name, release.version)
    # A rollout that a person asks for looks everything over again, and takes the product's newer server along.
    again = [str(release.generation)] if release.generation else []
    hashes = ["hashes"] if settings.require_hashes else []
    # A version that was refused for such an option is tried again at once.
    ignoring = ["ignoring"] if settings.ignore_index_options else []
    # Only what changes the result: another deadline, or another address of the registry, must not make the host fetch
    # all its models again.
    done_for = _digest(release.source, release.parameters.environment, *again, *hashes, *ignoring)
    facts = UnitFacts(done_for=done_for, source=source_of(release))
    return render(release.name, unit, "release/fetch.service.j2", values, facts)


def build(release: Release, environment: str, settings: StepSettings) -> Render:
    """The unit that makes the environment; the first release that needs it lends its requirements."""
    state = paths.environment_state(environment)
    values = _release_values(release) | {
        "environment": environment,
        "environment_state": state,
        "environment_dir": f"/var/lib/{state}",
        "deadline": settings.build_deadline,
        "index_url": settings.index_url,
        "find_links": list(settings.find_links),
        "offline": settings.offline,
        "allow_source": settings.allow_source,
        "require_hashes": settings.require_hashes,
        "pythons": settings.pythons,
        "python_mirror": settings.python_mirror,
        "python_list": settings.python_list,
        "unpack": paths.UNPACKED_PYTHON,
        "keep_free": settings.keep_free,
        "pin": f"{paths.PINS}/{environment}",
    }
    # Another index may have other packages by the same names; the requirements themselves are in the environment's id.
    places = [settings.index_url, *settings.find_links, f"{settings.offline} {settings.allow_source}"]
    if settings.pythons != "system":
        places += [settings.pythons, settings.python_mirror, settings.python_list]
    done_for = _digest(*places)
    facts = UnitFacts(environment=environment, done_for=done_for)
    return render(release.name, names.build_unit(environment), "release/build.service.j2", values, facts)


@dataclass(frozen=True)
class Files:
    """Which files are verified: a version's, from one origin, and the environment they need."""

    name: str
    version: int
    source: str
    """What `source_of` says."""
    environment: str


def verify(files: Files, settings: StepSettings) -> Render:
    """The unit that compares what was fetched and built with what was recorded, and asks the host's own check."""
    values = _version_values(files.name, files.version) | {
        # Not the user of the other steps: who could fetch or build anew could change what was verified.
        "user": paths.FILES_USER,
        "environment": files.environment,
        "environment_dir": _environment_dir(files.environment),
        "environment_state": _environment_state(files.environment),
        "build": names.build_unit(files.environment) if _environment_state(files.environment) else "",
        "pin": _pin(files.name, files.version, files.source),
        "environment_pin": f"{paths.PINS}/{files.environment}",
        "verify_command": list(settings.verify_command),
    }
    unit = names.verify_unit(files.name, files.version)
    facts = UnitFacts(
        source=files.source,
        environment=files.environment,
        check=check_of(settings),
        done_for=_digest(files.source, files.environment, HANDED_OVER, *settings.verify_command),
    )
    return render(files.name, unit, "release/verify.service.j2", values, facts)


def check_of(settings: StepSettings) -> str:
    """Digest of the host's own check that files are verified with today."""
    return _digest(HANDED_OVER, *settings.verify_command)


@lru_cache(maxsize=2**12)
def digest_of_watch(name: str, version: int, environment: str) -> str:
    """Digest of the unit that `watch` renders, which each pass compares with that on disk."""
    return watch(name, version, environment).facts.digest


def watch(name: str, version: int, environment: str) -> Render:
    """The unit through which systemd tells that somebody changed what was verified."""
    values: dict[str, Value] = {
        "name": name,
        "version": version,
        "release_dir": f"/var/lib/{paths.release_state(name, version)}",
        "environment_dir": _environment_dir(environment),
        "changed": names.changed_unit(name, version),
    }
    return render(name, names.watch_unit(name, version), "release/watch.path.j2", values)


def server(
    release: Release,
    environment: str,
    listening: Listening,
    example: LoggedExample | None,
    replica: int = 1,
    compose: ComposeSettings | None = None,
) -> Render:
    """The service that answers predictions, or one of several.

    `example`: what the fetch has found; None if it does not say. `compose`: how this host runs containers; needed for a
    release that runs in some.
    """
    parameters = release.parameters
    directory = _environment_dir(environment)
    unit = names.server_unit(release.name, release.id, replica)
    # All of them use what the first one compiled.
    first = names.server_unit(release.name, release.id)
    temp_size = parameters.memory_max // 4 or TEMP_SIZE
    values = _release_values(release) | _parameter_values(parameters)
    values |= {
        "release": release.id,
        "socket": names.socket_unit(release.name),
        "slice": names.slice_unit(release.name),
        "checker": paths.CHECKER,
        "pin": _pin(release.name, release.version, source_of(release)),
        "environment_pin": f"{paths.PINS}/{environment}",
        "launcher": paths.SERVER_LAUNCHER,
        "temp": names.temp_unit(unit, temp_size),
        "temp_dir": f"{paths.SERVER_TEMP}/{names.temp_instance(unit, temp_size)}",
        "temp_size": temp_size,
        "replica": replica,
        "compiled": names.compiled_unit(first, temp_size),
        "compiled_dir": f"{paths.SERVER_COMPILED}/{names.temp_instance(first, temp_size)}",
        "environment_dir": directory,
        "venv": f"{directory}/venv" if directory else paths.PRODUCT_VENV,
        "product": paths.PRODUCT,
        # Not whether the model has one, but its name: each replica has its own.
        "cache": paths.cache_directory(release.name, release.id, replica) if parameters.cache else "",
        "peers": list(listening.speakers),
        # A little longer than it is watched, so that it does not end for want of requests just before it proved itself.
        "soak": release.rollout.soak + 10,
    }
    if compose is not None and runs_in_containers(release):
        values |= server_values(release, replica, compose)
        values["compose_unit"] = names.compose_unit(release.name)
    asks_itself = compose is not None and takes_requests_itself(release, compose)
    facts = UnitFacts(
        release=release.id,
        environment=environment,
        runtime=parameters.runtime,
        source=source_of(release),
        asked=release.asked,
        may_idle=bool(parameters.idle_timeout),
        opened=parameters.opened,
        closed=parameters.closed,
        has_cache=parameters.cache,
        temp_size=temp_size if parameters.compile_cache else None,
        recreate=release.rollout.strategy == "recreate",
        asks_itself=asks_itself,
        example=example,
    )
    return render(release.name, unit, f"{parameters.runtime}/model.service.j2", values, facts)


def socket(name: str, release: ReleaseId, runtime: str, port: int, listening: Listening) -> Render:
    """The socket that all releases of a deployment share, and that names the active one.

    `release` is the active one: its first server is what a request starts when none runs.
    """
    values: dict[str, Value] = {
        "name": name,
        "service": names.server_unit(name, release),
        "slice": names.slice_unit(name),
        "address": addresses.endpoint(listening.address, port),
        "path": addresses.socket_path(name),
        "peers": list(listening.speakers),
        "user": listening.socket_user,
        "group": listening.socket_group,
        "mode": listening.socket_mode,
    }
    facts = UnitFacts(release=release, port=port, address=listening.address)
    return render(name, names.socket_unit(name), f"{runtime}/model.socket.j2", values, facts)


def slice_(name: str, runtime: str) -> Render:
    """The deployment's slice, under which ops find its socket and its servers."""
    return render(name, names.slice_unit(name), f"{runtime}/model.slice.j2", {"name": name})


# A model that runs in the product's own environment needs no build, and has no directory of its own.
def _environment_state(environment: str) -> str:
    return "" if environment == HOST_ENVIRONMENT else paths.environment_state(environment)


def _environment_dir(environment: str) -> str:
    state = _environment_state(environment)
    return f"/var/lib/{state}" if state else ""
