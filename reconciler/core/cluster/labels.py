"""How the objects of a deployment are called in a namespace, and the labels by which they are found."""

import hashlib
import re
from collections.abc import Mapping

from reconciler.core.state.release import Release

MANAGER = "mlflow-systemd"
OURS = f"app.kubernetes.io/managed-by={MANAGER}"
"""The selector of everything that the reconciler makes, and may delete."""

DEPLOYMENT = f"{MANAGER}/deployment"
PART = f"{MANAGER}/part"
"""What a pod is: `server` or `prepare`."""
RELEASE = f"{MANAGER}/release"
FILES = f"{MANAGER}/files"
"""Which files an object is about, as `files_key` says."""

# Annotations: what is too long for a label, or no selector.
SOURCE = f"{MANAGER}/source"
ASKED = f"{MANAGER}/asked"
RENDERED_FROM = f"{MANAGER}/rendered-from"
"""Digest of the values that an object was rendered from."""

MAX_NAME = 36
"""Characters of a name: 63 is the most that a Service, and the label of a Job's pods, may have."""
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,34}[a-z0-9])?")


def why_no_name(name: str) -> str | None:
    """Say why a model's name cannot be a name in a cluster; None when it can."""
    if _NAME.fullmatch(name):
        return None
    if len(name) > MAX_NAME:
        return f"its name has {len(name)} characters, and at most {MAX_NAME} fit into a name there"
    return "its name has other characters than lower-case letters, digits and '-' inside of it, which names there have"


def object_name(name: str) -> str:
    """Name what a deployment has one of: its Deployment, Service, NetworkPolicy and PodDisruptionBudget."""
    return f"model-{name}"


def prepare_name(name: str) -> str:
    """Name the NetworkPolicy of the pods that fetch and build."""
    return f"prepare-{name}"


def files_key(release: Release) -> str:
    """Return `<version>-<8 hex digits>`: what tells the files and the environment of one release from those of others.

    Releases that differ only in how they are run share them. A number that the registry gave to another model, and a
    rollout that an operator asked for, have their own.
    """
    about = [release.source, release.parameters.environment, str(release.generation)]
    digest = hashlib.sha256("\0".join(about).encode(errors="replace")).hexdigest()
    return f"{release.version}-{digest[:8]}"


def files_name(name: str, key: str) -> str:
    """Name what belongs to one set of files: the claim, the Job that fills it, the ConfigMap that tells of it."""
    return f"model-{name}-v{key}"


def release_name(name: str, release: str) -> str:
    """Name the ConfigMap that keeps what a release was rendered from."""
    return f"model-{name}-{release}"


def labels_of(manifest: Mapping[str, object]) -> Mapping[str, str]:
    """Return the labels of an object; none of one that has odd ones."""
    metadata = manifest.get("metadata")
    found = metadata.get("labels") if isinstance(metadata, Mapping) else None
    if not isinstance(found, Mapping):
        return {}
    return {str(key): value for key, value in found.items() if isinstance(value, str)}
