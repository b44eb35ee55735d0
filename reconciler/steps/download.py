"""Downloads a model version from the artifact store: finds its address, lists its files, holds it to limits."""

import errno
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from threading import Event

from reconciler.adapters.artifact_store import ArtifactStore, hand_over_keys, trust_stores
from reconciler.adapters.credentials import CredentialError
from reconciler.adapters.egress import Egress, EgressError
from reconciler.adapters.failure_words import causes, describe_failure
from reconciler.adapters.mlflow_client import log_out
from reconciler.adapters.s3 import BucketServer
from reconciler.core.text.quote import one_line
from reconciler.core.text.sizes import human_size
from reconciler.core.text.urls import origin
from reconciler.ports.artifacts import Artifacts, Entry, StoreError
from reconciler.steps import manifest as manifests
from reconciler.steps import tree
from reconciler.steps.limits import (
    Limits,
    Meter,
    chooses_its_servers,
    is_registrys,
    names_a_bucket,
    server_of,
    servers,
    watched,
    why_not_from,
    why_too_much,
)
from reconciler.steps.step_report import StepError

REQUEST_TIMEOUT = 60
"""Seconds of silence after which a server counts as gone, unless the unit says otherwise."""
REQUEST_RETRIES = 2
_PARALLEL = 4
EXTRAS = {"google": "gs", "azure": "azure"}
"""By the package of a library that stores need, what `./dev install --with` calls it."""


@dataclass(frozen=True)
class FetchOrder:
    """What the unit of the step asks for."""

    name: str
    version: int
    source: str
    environment: str
    """`model`, or `host` when the product's own interpreter runs it."""
    registry: str
    limits: Limits
    plain_http: bool = False
    """Whether credentials may go to the registry in plain text."""
    workspace: str = ""
    """The registry's workspace, where it has several."""
    require_hashes: bool = False
    """Whether every package must be listed with its hash."""
    buckets: BucketServer = field(default_factory=BucketServer)
    """The server that has the buckets of `s3://`."""
    ignore_index_options: bool = False
    """Whether options that say where packages come from count for nothing, instead of being refused."""


def download(incoming: Path, order: FetchOrder) -> dict[str, int]:
    """Download every artifact into `incoming`; return the size of each file, compared with the listing.

    Raises StepError with the reason; the files in `incoming` are incomplete then.
    """
    egress = Egress(servers(order.registry, order.limits))
    try:
        with egress.held():
            return _download(incoming, order, egress)
    except EgressError as elsewhere:
        raise _cannot(
            order,
            f"it is sent on to {one_line(str(elsewhere), 300)}, which fetch.hosts does not list; "
            "have fetch.hosts extended, or the MLflow server hand the files out itself",
        ) from None


def _download(incoming: Path, order: FetchOrder, egress: Egress) -> dict[str, int]:
    timeout = int(os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT", REQUEST_TIMEOUT))
    retries = int(os.environ.get("MLFLOW_HTTP_REQUEST_MAX_RETRIES", REQUEST_RETRIES))
    asked = order.registry
    try:
        store = ArtifactStore(
            order.registry,
            timeout,
            retries,
            plain_http=order.plain_http,
            workspace=order.workspace,
            buckets=order.buckets,
        )
        address = _address(store, order)
        if not is_registrys(address, order.registry):
            asked = server_of(address, order.registry)
        if names_a_bucket(address):
            egress.narrow([origin(order.buckets.url)])
        elif chooses_its_servers(address):
            egress.open()
        artifacts = store.open(address)
        listed = _list(artifacts, order.limits.max_files)
    except StepError:
        raise
    except Exception as error:  # MLflow raises anything, the artifact store's library anything else
        raise _as_step_error(order, error, asked) from error
    why = why_too_much(listed, tree.free_bytes(incoming.parent), order.limits)
    if why:
        raise _cannot(order, why)
    for directory in sorted({str(Path(path).parent) for path in listed} | {"."}):
        (incoming / directory).mkdir(parents=True, exist_ok=True)
    _download_files(artifacts, listed, incoming, order, asked)
    sizes = tree.regular_files(incoming)
    differing = _first_difference(listed, sizes)
    if differing is not None:
        raise _cannot(
            order,
            f"{differing!r} came out another size than listed; "
            "the artifact store changed meanwhile or cut it off, it is tried again by itself",
        )
    for path in sizes:
        (incoming / path).chmod(0o644)
    return sizes


def _first_difference(listed: Mapping[str, int | None], sizes: Mapping[str, int]) -> str | None:
    """Name a file whose size on the disk is not the listed one, or that only one side has; None when all agree."""
    for path, size in listed.items():
        if size is not None and sizes.get(path) != size:
            return path
    return min(sizes.keys() ^ listed.keys(), default=None)


def _address(store: ArtifactStore, order: FetchOrder) -> str:
    """Ask the registry where the files are, and refuse an address that this host does not download from."""
    location = store.locate(order.name, order.version)
    if location.source != order.source:
        raise _cannot(
            order, "the registry has another one under that number now; the next reading of the registry brings it"
        )
    why = why_not_from(location.address, order.registry, order.limits)
    if why:
        raise _cannot(order, why)
    if not is_registrys(location.address, order.registry):
        log_out()  # a person who may register a version could name a host of theirs, and would be sent the credentials
        trust_stores()
    hand_over_keys(location.address.partition(":")[0])
    return location.address


def _list(artifacts: Artifacts, max_files: int) -> dict[str, int | None]:
    """Map every artifact to its size in bytes, None where the store does not tell it."""
    files: dict[str, int | None] = {}
    directories: set[str] = set()
    for entry in _entries(artifacts, max_files):
        if entry.is_directory:
            directories.add(entry.path)
        else:
            files[entry.path] = entry.size
    for path in files:
        directories |= {str(directory) for directory in PurePosixPath(path).parents}
    both = sorted(directories & files.keys())
    if both:
        raise StepError(
            f"cannot download the artifact {both[0]!r}: it is listed as a file and as a directory; log the model again"
        )
    if not files:
        raise StepError("cannot download the model: the artifact store has no files for it; log the model again")
    if "MLmodel" not in files:
        raise StepError(
            "cannot use the model: it has no file MLmodel; log it with MLflow's log_model, not as a bare artifact"
        )
    return files


def _entries(artifacts: Artifacts, max_files: int) -> Iterator[Entry]:
    """List files and directories of a store that may list anything, without end too; raises StepError for an odd one.

    Directories count as well: a store could list them inside one another for ever.
    """
    pending: list[str | None] = [None]
    listed = 0
    while pending:
        for entry in artifacts.entries(pending.pop()):
            listed += 1
            why = manifests.why_not_a_path(entry.path)
            if why:
                raise StepError(f"cannot download the artifact {entry.path!r}: {why}; log the model again without it")
            if entry.size is not None and entry.size < 0:  # it would make room for others in a sum
                raise StepError(
                    f"cannot download the artifact {entry.path!r}: it is listed with a negative size; "
                    "have the artifact store mended"
                )
            if listed > max_files:
                raise StepError(
                    f"cannot download the model: it has more than {max_files} files; "
                    "log it as fewer, or have fetch.max_files raised"
                )
            if entry.is_directory:
                pending.append(entry.path)
            yield entry


def _download_files(
    artifacts: Artifacts, listed: dict[str, int | None], incoming: Path, order: FetchOrder, asked: str
) -> None:
    """Download several files at a time, the smallest first; the first failure stops the others. Raises StepError."""
    meter, stop = Meter(listed, order.limits), Event()

    def download_file(path: str) -> None:
        if stop.is_set():
            return
        try:
            meter.begin(path)
            artifacts.download(path, incoming / path)
            why = meter.end(path, incoming / path)
            if why:
                raise _cannot(order, f"{why}; it is tried again by itself")
        except BaseException:
            stop.set()  # the version is not complete, so the others are of no use
            raise

    with watched(incoming, order.limits.keep_free, meter, stop) as space:
        try:
            with ThreadPoolExecutor(_PARALLEL) as pool:
                smallest_first = sorted(listed, key=lambda path: listed[path] or 0)
                for _ in pool.map(download_file, smallest_first):
                    pass  # the loop raises what a download raised
        except StepError:
            if not space.is_short():
                raise
        except Exception as error:  # MLflow raises anything, the artifact store's library anything else
            if not space.is_short():  # else the error is the consequence of a file that was cut off
                raise _as_step_error(order, error, asked) from error
    if space.is_short():
        tree.remove(incoming)  # the host needs the room at once
        raise _cannot(
            order,
            f"less than the {human_size(order.limits.keep_free)} that stay free on this host would be left; "
            "make room on the host, or log a smaller model",
        )


def _install(missing: ImportError) -> str:
    """Say how the host gets a library."""
    extra = EXTRAS.get((missing.name or "").partition(".")[0])
    command = f"./dev install --with {extra}" if extra else "./dev install"
    return f"run {command} again on the host, or log the model through the MLflow server"


def _cannot(order: FetchOrder, why: str) -> StepError:
    return StepError(f"cannot download version {order.version} of {order.name}: {why}")


def _as_step_error(order: FetchOrder, error: Exception, asked: str) -> StepError:
    """Turn an error of a download into the step's reason; `asked` is the server that was asked last.

    Causes on this host come before those of the store.
    """
    numbers = {cause.errno for cause in causes(error) if isinstance(cause, OSError)}
    if numbers & {errno.ENOSPC, errno.EDQUOT}:
        return _cannot(order, "no space left on this host's disk; make room on the host")
    for cause in causes(error):
        if isinstance(cause, CredentialError):
            return _cannot(order, f"{asked}: {cause}; mend the credential on the host")
        if isinstance(cause, ImportError):
            return _cannot(order, f"this host has no library for such a store ({cause}); {_install(cause)}")
    if errno.EFBIG in numbers:
        return _cannot(order, "the artifact store sends more than it listed; it is tried again by itself")
    if isinstance(error, StoreError):
        return _cannot(order, str(error))
    return _cannot(order, f"{asked}: {describe_failure(error)}; it is tried again by itself")
