"""The artifact store: where a model version's files are, which they are, and their bytes, within this host's limits."""

import errno
import os
import resource
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from reconciler.adapters.artifact_store import Artifacts, ArtifactStore
from reconciler.adapters.mlflow_client import causes, explain, forget_credentials
from reconciler.core.sentences import human_size
from reconciler.release import manifest as manifests
from reconciler.release import tree
from reconciler.release.outcome import StepError

MAX_FILES = 10_000
REQUEST_TIMEOUT = 60
"""Seconds of silence from a server that are taken for the end, unless the unit says otherwise."""
REQUEST_RETRIES = 2
_PARALLEL = 4


@dataclass(frozen=True)
class Wanted:
    """What the unit asks for."""

    name: str
    version: int
    source: str
    environment: str
    """`model`, or `host` when the product's own interpreter runs it."""
    registry: str
    schemes: frozenset[str]
    keep_free: int
    """Bytes that must stay free on the file system."""


def download(incoming: Path, want: Wanted) -> dict[str, int]:
    """Download every artifact into `incoming`; return the size of every file, after comparing it with the listing.

    Raises StepError with the reason; what is there by then is incomplete.
    """
    timeout = int(os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT", REQUEST_TIMEOUT))
    retries = int(os.environ.get("MLFLOW_HTTP_REQUEST_MAX_RETRIES", REQUEST_RETRIES))
    try:
        store = ArtifactStore(want.registry, timeout, retries)
        artifacts = store.open(_address(store, want))
        listed = _list(artifacts)
    except StepError:
        raise
    except Exception as error:  # MLflow raises anything, the artifact store's library anything else
        raise _failed(want, error) from error
    _leave_room(incoming.parent, listed, want)
    for directory in sorted({str(Path(path).parent) for path in listed} | {"."}):
        (incoming / directory).mkdir(parents=True, exist_ok=True)
    _limit_file_size(listed.values())
    _download_files(artifacts, listed, incoming, want)
    sizes = tree.regular_files(incoming)
    changed = [path for path, size in listed.items() if size is not None and sizes.get(path) != size]
    if changed or sizes.keys() != listed.keys():
        which = changed or sorted(sizes.keys() ^ listed.keys())
        raise _cannot(
            want,
            f"{which[0]!r} came out another size than listed; "
            "the artifact store changed meanwhile or cut it off, it is tried again by itself",
        )
    for path in sizes:
        (incoming / path).chmod(0o644)
    return sizes


def _address(store: ArtifactStore, want: Wanted) -> str:
    """Ask the registry where the files are, and refuse what this host does not download from."""
    location = store.locate(want.name, want.version)
    if location.source != want.source:
        raise _cannot(
            want, "the registry has another one under that number now; the next reading of the registry brings it"
        )
    address = urlsplit(location.address)
    if address.scheme not in want.schemes:
        raise _cannot(
            want,
            f"its files are at {address.scheme or 'a plain path'}:, "
            f"this host downloads from {', '.join(sorted(want.schemes))} only; "
            "log the model through the MLflow server, or have fetch.schemes extended",
        )
    if ".." in address.path.split("/"):
        raise _cannot(want, "its location has '..'; register it again")
    registry = urlsplit(want.registry)
    if address.netloc and (address.netloc, address.scheme) not in (
        (registry.netloc, registry.scheme),
        (registry.netloc, "mlflow-artifacts"),
    ):
        forget_credentials()  # whoever may register a version could name any host, and would be handed them
    return location.address


def _list(artifacts: Artifacts) -> dict[str, int | None]:
    """Map every artifact to its size as the store tells it, None where it does not."""
    files: dict[str, int | None] = {}
    pending: list[str | None] = [None]
    seen = 0
    while pending:
        for found in artifacts.entries(pending.pop()):
            seen += 1
            if why := manifests.why_not_a_path(found.path):
                raise StepError(f"cannot download the artifact {found.path!r}: {why}; log the model again without it")
            if seen > MAX_FILES:
                raise StepError(f"cannot download the model: it has more than {MAX_FILES} files; log it as fewer")
            if found.is_directory:
                pending.append(found.path)
            else:
                files[found.path] = found.size
    if "MLmodel" not in files:
        raise StepError(
            "cannot use the model: it has no file MLmodel; log it with MLflow's log_model, not as a bare artifact"
            if files
            else "cannot download the model: the artifact store has no files for it; log the model again"
        )
    return files


def _leave_room(directory: Path, listed: dict[str, int | None], want: Wanted) -> None:
    needed, free = sum(size or 0 for size in listed.values()), tree.free_bytes(directory)
    if needed + want.keep_free > free:
        raise _cannot(
            want,
            f"it has {human_size(needed)}, and of "
            f"{human_size(free)} free on this host {human_size(want.keep_free)} stay free; make room on the host",
        )


def _limit_file_size(sizes: Iterable[int | None]) -> None:
    # A store that sends more than it listed is cut off at the largest listed file, not by the full disk.
    known = [size for size in sizes if size is not None]
    limits = [limit for limit in resource.getrlimit(resource.RLIMIT_FSIZE) if limit != resource.RLIM_INFINITY]
    wanted = max([*known, 16 * 1024 * 1024]) + 4096
    resource.setrlimit(resource.RLIMIT_FSIZE, (min([wanted, *limits]), resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def _download_files(artifacts: Artifacts, paths: Iterable[str], incoming: Path, want: Wanted) -> None:
    try:
        with ThreadPoolExecutor(_PARALLEL) as pool:
            for _ in pool.map(lambda path: artifacts.download(path, incoming / path), paths):
                pass
    except Exception as error:  # MLflow raises anything, the artifact store's library anything else
        raise _failed(want, error) from error


def _cannot(want: Wanted, why: str) -> StepError:
    return StepError(f"cannot download version {want.version} of {want.name}: {why}")


def _failed(want: Wanted, error: Exception) -> StepError:
    """Turn what a download ran into into the step's reason."""
    numbers = {cause.errno for cause in causes(error) if isinstance(cause, OSError)}
    if numbers & {errno.ENOSPC, errno.EDQUOT}:
        return _cannot(want, "no space left on this host's disk; make room on the host")
    if errno.EFBIG in numbers:
        return _cannot(want, "the artifact store sends more than it listed; it is tried again by itself")
    return _cannot(want, f"{want.registry}: {explain(error)}; it is tried again by itself")
