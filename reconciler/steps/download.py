"""The artifact store: where a model version's files are, which they are, and their bytes, within this host's limits."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from threading import Event

from reconciler.adapters.artifact_store import Artifacts, ArtifactStore, hand_over_keys
from reconciler.adapters.credentials import CredentialError
from reconciler.adapters.egress import Egress, EgressError
from reconciler.adapters.mlflow_client import causes, explain, log_out
from reconciler.core.text.quote import one_line
from reconciler.core.text.sizes import human_size
from reconciler.steps import manifest as manifests
from reconciler.steps import tree
from reconciler.steps.limits import (
    Limits,
    Meter,
    chooses_its_servers,
    is_registrys,
    servers,
    watched,
    why_not_from,
    why_too_much,
)
from reconciler.steps.step_report import StepError

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
    limits: Limits
    plain_http: bool = False
    """Whether credentials may go to the registry in plain text."""
    workspace: str = ""
    """The registry's workspace, where it has several."""
    require_hashes: bool = False
    """Whether every package must be listed with its hash."""


def download(incoming: Path, want: Wanted) -> dict[str, int]:
    """Download every artifact into `incoming`; return the size of every file, after comparing it with the listing.

    Raises StepError with the reason; what is there by then is incomplete.
    """
    egress = Egress(servers(want.registry, want.limits))
    try:
        with egress.held():
            return _download(incoming, want, egress)
    except EgressError as elsewhere:
        raise _cannot(
            want,
            f"it is sent on to {one_line(str(elsewhere), 300)}, which fetch.hosts does not list; "
            "have fetch.hosts extended, or the MLflow server hand the files out itself",
        ) from None


def _download(incoming: Path, want: Wanted, egress: Egress) -> dict[str, int]:
    timeout = int(os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT", REQUEST_TIMEOUT))
    retries = int(os.environ.get("MLFLOW_HTTP_REQUEST_MAX_RETRIES", REQUEST_RETRIES))
    try:
        store = ArtifactStore(want.registry, timeout, retries, plain_http=want.plain_http, workspace=want.workspace)
        address = _address(store, want)
        if chooses_its_servers(address):
            egress.open()
        artifacts = store.open(address)
        listed = _list(artifacts, want.limits.max_files)
    except StepError:
        raise
    except Exception as error:  # MLflow raises anything, the artifact store's library anything else
        raise _failed(want, error) from error
    if why := why_too_much(listed, tree.free_bytes(incoming.parent), want.limits):
        raise _cannot(want, why)
    for directory in sorted({str(Path(path).parent) for path in listed} | {"."}):
        (incoming / directory).mkdir(parents=True, exist_ok=True)
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
    if why := why_not_from(location.address, want.registry, want.limits):
        raise _cannot(want, why)
    if not is_registrys(location.address, want.registry):
        log_out()  # whoever may register a version could name any host, and would be handed them
    hand_over_keys(location.address.partition(":")[0])
    return location.address


def _list(artifacts: Artifacts, max_files: int) -> dict[str, int | None]:
    """Map every artifact to its size as the store tells it, None where it does not."""
    files: dict[str, int | None] = {}
    directories: set[str] = set()
    pending: list[str | None] = [None]
    seen = 0
    while pending:
        for found in artifacts.entries(pending.pop()):
            seen += 1
            if why := manifests.why_not_a_path(found.path):
                raise StepError(f"cannot download the artifact {found.path!r}: {why}; log the model again without it")
            if seen > max_files:
                raise StepError(
                    f"cannot download the model: it has more than {max_files} files; "
                    "log it as fewer, or have fetch.max_files raised"
                )
            if found.is_directory:
                directories.add(found.path)
                pending.append(found.path)
            else:
                files[found.path] = found.size
    directories |= {str(directory) for path in files for directory in PurePosixPath(path).parents}
    if both := sorted(directories & files.keys()):
        raise StepError(
            f"cannot download the artifact {both[0]!r}: it is listed as a file and as a directory; log the model again"
        )
    if "MLmodel" not in files:
        raise StepError(
            "cannot use the model: it has no file MLmodel; log it with MLflow's log_model, not as a bare artifact"
            if files
            else "cannot download the model: the artifact store has no files for it; log the model again"
        )
    return files


def _download_files(artifacts: Artifacts, listed: dict[str, int | None], incoming: Path, want: Wanted) -> None:
    meter, stop = Meter(listed, want.limits), Event()

    def one(path: str) -> None:
        if stop.is_set():
            return
        try:
            meter.begin(path)
            artifacts.download(path, incoming / path)
            if why := meter.end(path, incoming / path):
                raise _cannot(want, f"{why}; it is tried again by itself")
        except BaseException:
            stop.set()  # the others need not come any more
            raise

    with watched(incoming, want.limits.keep_free, meter, stop) as room:
        try:
            with ThreadPoolExecutor(_PARALLEL) as pool:
                for _ in pool.map(one, sorted(listed, key=lambda path: listed[path] or 0)):
                    pass
        except Exception as error:  # MLflow raises anything, the artifact store's library anything else
            if not room.is_short():
                raise error if isinstance(error, StepError) else _failed(want, error) from error
    if room.is_short():
        tree.remove(incoming)
        raise _cannot(
            want,
            f"less than the {human_size(want.limits.keep_free)} that stay free on this host would be left; "
            "make room on the host, or log a smaller model",
        )


def _cannot(want: Wanted, why: str) -> StepError:
    return StepError(f"cannot download version {want.version} of {want.name}: {why}")


def _failed(want: Wanted, error: Exception) -> StepError:
    """Turn what a download ran into into the step's reason."""
    numbers = {cause.errno for cause in causes(error) if isinstance(cause, OSError)}
    if numbers & {errno.ENOSPC, errno.EDQUOT}:
        return _cannot(want, "no space left on this host's disk; make room on the host")
    for cause in causes(error):
        if isinstance(cause, CredentialError):
            return _cannot(want, f"{want.registry}: {cause}; mend the credential on the host")
        if isinstance(cause, ImportError):
            return _cannot(
                want, f"this host has no library for such a store ({cause}); log it through the MLflow server"
            )
    if errno.EFBIG in numbers:
        return _cannot(want, "the artifact store sends more than it listed; it is tried again by itself")
    return _cannot(want, f"{want.registry}: {explain(error)}; it is tried again by itself")
