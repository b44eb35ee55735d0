"""What the templates of a deployment's objects are rendered from."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from reconciler.core.cluster import labels
from reconciler.core.cluster.observed import Report
from reconciler.core.planner.unit_values import StepSettings, source_of
from reconciler.core.state.release import Refused, Release, Rollout
from reconciler.core.units import paths
from reconciler.core.units.names import HOST_ENVIRONMENT

Values = Mapping[str, object]
"""What a template is given: texts, numbers, flags, and lists of texts, all of which JSON has."""
AFTER_THE_SOAK = 60
"""Seconds beyond start timeout and soak within which a release is to be complete: the cluster needs some, too."""
DRAIN_DELAY = 5
"""Seconds that a server goes on accepting after the cluster has begun to take it out of its Service."""
DEPLOY_HOME = paths.DEPLOY_HOME
_SCRATCH = 1024**3
"""Bytes of /tmp of a server whose memory has no limit, and of each step."""
_NETWORK_POLICY = "cannot serve here: this cluster does not hold pods to their NetworkPolicy"


@dataclass(frozen=True)
class ClusterSettings:
    """How releases run in the cluster; the fields are the settings of `[kubernetes]`."""

    namespace: str
    image: str
    user: int
    storage: int
    storage_class: str
    access_mode: str
    require_network_policy: bool


def fit_for_cluster(release: Release) -> Release | Refused:
    """Return a release, or why it cannot run in a cluster as it asks to.

    What it asks for and a pod cannot keep is refused, and not passed over.
    """
    asked = release.parameters
    unkept = (
        (asked.runtime != "native", f"it asks for the runtime {asked.runtime}"),
        (bool(asked.opened), f"it asks for {asked.opened}"),
        (bool(asked.closed), asked.closed),
        (asked.idle_timeout > 0, "it ends when it is idle (deploy.idle_timeout), and nothing would start it again"),
        (bool(release.rollout.brokers), "it answers over NATS (deploy.brokers), which hosts do"),
    )
    why = labels.why_no_name(release.name) or next((why for is_asked, why in unkept if is_asked), None)
    if why is None:
        return release
    where = f"cannot run version {release.version} of {release.name} in a cluster"
    return Refused(release.name, release.version, f"{where}: {why}; run it on a host, or change that")


def rendered_from(template: str, values: Values) -> str:
    """Return the digest by which an object tells what it was rendered from."""
    canonical = json.dumps([template, values], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode(errors="replace")).hexdigest()[:32]


def claim_values(release: Release, settings: ClusterSettings) -> Values:
    """Return the values of the volume of a release's files: only what makes it another volume, so that it is kept."""
    key = labels.files_key(release)
    return {
        "name": release.name,
        "version": release.version,
        "files_key": key,
        "files_name": labels.files_name(release.name, key),
        "storage": settings.storage,
        "storage_class": settings.storage_class,
        "access_mode": settings.access_mode,
    }


def files_values(release: Release, steps: StepSettings, settings: ClusterSettings, pinned: str) -> Values:
    """Return the values of the Job and the NetworkPolicy that prepare a release's files.

    `pinned`: the digest of the version's files from when they were first fetched; empty the first time.
    """
    key = labels.files_key(release)
    release_dir = f"/var/lib/{paths.release_state(release.name, release.version)}"
    return {
        **_common(release.name, settings),
        "files_key": key,
        "files_name": labels.files_name(release.name, key),
        "prepare_name": labels.prepare_name(release.name),
        "version": release.version,
        "release_dir": release_dir,
        "pinned": pinned,
        "registry_uri": steps.registry_uri,
        "registry_timeout": steps.registry_timeout,
        "deadline": steps.fetch_deadline + steps.build_deadline + 900,
        "scratch": _SCRATCH,
        "fetch": [*_fetch_arguments(release, steps)],
        "build": ["--release-dir", release_dir, *_build_arguments(steps)],
        # The host's own check: a program of root's in the image, without whose yes no version starts here either.
        "verify": ["--release-dir", release_dir, *(f"--check={word}" for word in steps.verify_command)],
    }


def release_values(release: Release, report: Report, settings: ClusterSettings) -> Values:
    """Return the values of a release's Deployment, Service, NetworkPolicy and PodDisruptionBudget."""
    asked = release.parameters
    key = labels.files_key(release)
    environment = f"{DEPLOY_HOME}/environments/{report.environment}"
    has_own = report.environment != HOST_ENVIRONMENT
    return {
        **_common(release.name, settings),
        "release": str(release.id),
        "version": release.version,
        "source": source_of(release),
        "asked": release.asked,
        "files_key": key,
        "files_name": labels.files_name(release.name, key),
        "files": report.files,
        "environment_files": report.content,
        "release_dir": f"/var/lib/{paths.release_state(release.name, release.version)}",
        "venv": f"{environment}/venv" if has_own else paths.PRODUCT_VENV,
        "has_own_environment": has_own,
        "example": str(report.example or ""),
        **rollout_values(release.rollout, asked.start_timeout),
        "start_timeout": asked.start_timeout,
        "stop_timeout": asked.stop_timeout,
        "drain_delay": DRAIN_DELAY,
        "memory_max": asked.memory_max,
        "cpu_quota": asked.cpu_quota,
        "scratch": asked.memory_max // 4 or _SCRATCH,
        "max_body": asked.max_body,
        "batch": asked.batch,
        "try_page": asked.try_page,
        "watchdog": asked.watchdog,
        "require_network_policy": settings.require_network_policy,
        "not_enforced": _NETWORK_POLICY,
    }


def rollout_values(rollout: Rollout, start_timeout: int) -> Values:
    """Return the values that a release takes from today's settings as long as it serves: they make no other release."""
    return {
        "replicas": rollout.replicas,
        "recreate": rollout.strategy == "recreate",
        "soak": rollout.soak,
        "deadline": start_timeout + rollout.soak + AFTER_THE_SOAK,
    }


def _common(name: str, settings: ClusterSettings) -> dict[str, object]:
    return {
        "name": name,
        "object": labels.object_name(name),
        "namespace": settings.namespace,
        "manager": labels.MANAGER,
        "image": settings.image,
        "user": settings.user,
        # Who prepares can write to the files, and who serves them cannot even where the volume would let its owner.
        "server_user": settings.user + 1,
        "deploy_home": DEPLOY_HOME,
        "python": f"{paths.PRODUCT_VENV}/bin/python",
        "checker": paths.CHECKER,
        "launcher": paths.SERVER_LAUNCHER,
    }


def _fetch_arguments(release: Release, steps: StepSettings) -> Iterator[str]:
    yield from ("--name", release.name, "--version", str(release.version), f"--source={release.source}")
    yield from ("--environment", release.parameters.environment, f"--schemes={','.join(steps.fetch_schemes)}")
    yield from ("--keep-free", str(steps.keep_free), "--max-size", str(steps.max_size))
    yield from ("--max-files", str(steps.max_files))
    yield from (f"--host={host}" for host in steps.fetch_hosts)
    yield from _given("--workspace", steps.workspace)
    yield from _flag("--plain-http", steps.plain_http)
    yield from _given("--s3-endpoint-url", steps.s3_endpoint_url)
    yield from _given("--s3-region", steps.s3_region)
    yield from _flag("--s3-plain-http", steps.s3_plain_http)
    yield from _flag("--require-hashes", steps.require_hashes)
    yield from _flag("--ignore-index-options", steps.ignore_index_options)


def _build_arguments(steps: StepSettings) -> Iterator[str]:
    yield from ("--keep-free", str(steps.keep_free))
    yield from _given("--index-url", steps.index_url)
    yield from (f"--find-links={place}" for place in steps.find_links)
    yield from _flag("--offline", steps.offline)
    yield from _flag("--allow-source", steps.allow_source)
    yield from _flag("--require-hashes", steps.require_hashes)
    if steps.pythons == "managed":
        yield from ("--pythons", "managed")
    yield from _given("--python-mirror", steps.python_mirror)
    yield from _given("--python-list", steps.python_list)


def _given(option: str, value: str) -> list[str]:
    return [f"{option}={value}"] if value else []


def _flag(option: str, so: bool) -> list[str]:
    return [option] if so else []
