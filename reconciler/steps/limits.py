"""The limits of a fetch, from the host's settings: the servers it may reach, the bytes and files it may bring."""

import resource
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from urllib.parse import urlsplit

from reconciler.core.text.sizes import human_size
from reconciler.core.text.urls import origin
from reconciler.steps.tree import free_bytes

_LEAST = 16 * 1024 * 1024 + 4096
"""Bytes that this process may always write to one file: its own records."""
_ENDLESS = 2**62
_LOOK = 0.1
"""Seconds between two looks at what is free."""


@dataclass(frozen=True)
class Limits:
    """The settings of [fetch] that protect this host."""

    schemes: frozenset[str]
    hosts: frozenset[str]
    """Servers and buckets beside the registry, such as `https://host:443` and `s3://bucket`."""
    max_size: int
    """Bytes of one model version; 0 is no limit."""
    max_files: int
    keep_free: int
    """Bytes that stay free on the file system."""


def is_registrys(address: str, registry: str) -> bool:
    """Tell whether an artifact's address means the registry's own server."""
    names_no_server = address.startswith("mlflow-artifacts:") and not urlsplit(address).netloc
    return names_no_server or server_of(address, registry) == origin(registry)


def servers(registry: str, limits: Limits) -> frozenset[str]:
    """Name every server that a fetch may speak to."""
    return limits.hosts | {origin(registry)}


def names_a_bucket(address: str) -> bool:
    """Tell whether an address names a bucket of the one server that the host's settings name for buckets."""
    return urlsplit(address).scheme == "s3"


def chooses_its_servers(address: str) -> bool:
    """Tell whether an address names a bucket or a container, for which its library knows the servers."""
    return urlsplit(address).scheme not in ("http", "https", "mlflow-artifacts", "s3")


def why_not_from(address: str, registry: str, limits: Limits) -> str | None:
    """Say why this host does not download from an address; None when it does."""
    parts = urlsplit(address)
    if parts.scheme not in limits.schemes:
        return (
            f"its files are at {parts.scheme or 'a plain path'}:, "
            f"this host downloads from {', '.join(sorted(limits.schemes))} only; "
            "log the model through the MLflow server, or have fetch.schemes extended"
        )
    # A store, or a proxy before it, might leave the bucket or the directory that fetch.hosts means.
    if ".." in parts.path.split("/"):
        return "its location has '..'; register it again"
    server = server_of(address, registry)
    is_known = is_registrys(address, registry) or server in limits.hosts
    if not is_known:
        return (
            f"its files are at {server or 'no server'}, which fetch.hosts does not list; "
            "log the model through the MLflow server, or have fetch.hosts extended"
        )
    return None


def server_of(address: str, registry: str) -> str:
    """Name the server of an address as `https://host:443`, or its bucket as `s3://bucket`; "" when it names none."""
    if urlsplit(address).scheme == "mlflow-artifacts":
        # MLflow reaches the host of such an address the way it reaches the registry.
        return origin(address, urlsplit(registry).scheme)
    return origin(address, "")


def why_too_much(listed: Mapping[str, int | None], free: int, limits: Limits) -> str | None:
    """Say why the listed files are more than this host takes; None when they fit. `free`: bytes on the file system."""
    needed = sum(size or 0 for size in listed.values())  # a size that is not listed is measured as it comes
    has_limit = limits.max_size > 0
    if has_limit and needed > limits.max_size:
        return (
            f"it has {human_size(needed)}, and this host takes {human_size(limits.max_size)} at most; "
            "log a smaller model, or have fetch.max_size raised"
        )
    # Before the first byte: a disk that gets full stops the models, too.
    if needed + limits.keep_free > free:
        return (
            f"it has {human_size(needed)}, and of {human_size(free)} free on this host "
            f"{human_size(limits.keep_free)} stay free; make room on the host"
        )
    return None


class Meter:
    """Counts the bytes that come in, and makes the kernel cut off a file that grows beyond its listed size.

    The kernel's limit holds for the whole process, so it is that of the largest file under way. Files come smallest
    first: none can grow far beyond its own size. Invariant: the limit never falls until `cut_off`.
    """

    def __init__(self, listed: Mapping[str, int | None], limits: Limits) -> None:
        """Start with nothing."""
        self._listed, self._limits = listed, limits
        self._lock = Lock()
        self._total = 0
        self._allowed = _LEAST
        # The unit may have set a limit already, which only gets narrower.
        set_already = [limit for limit in resource.getrlimit(resource.RLIMIT_FSIZE) if limit != resource.RLIM_INFINITY]
        self._most = min([*set_already, limits.max_size or _ENDLESS])

    def begin(self, path: str) -> None:
        """Allow one more file its listed size; where none is listed, what is left of the whole."""
        size = self._listed[path]
        with self._lock:
            needed = self._most - self._total if size is None else size
            self._allowed = max(self._allowed, needed + 4096)
            _limit_files_to(max(_LEAST, min(self._allowed, self._most)))

    def cut_off(self) -> None:
        """Let no file grow any more, but for records of this process; the caller begins no other file."""
        with self._lock:
            _limit_files_to(_LEAST)

    def end(self, path: str, local: Path) -> str | None:
        """Count a file that came; say what is wrong with its size, None when it is right."""
        size, listed = local.lstat().st_size, self._listed[path]
        with self._lock:
            self._total += size
            # Again, because the store may have listed no size, or a smaller one.
            if self._limits.max_size and self._total > self._limits.max_size:
                return (
                    f"it has more than the {human_size(self._limits.max_size)} that this host takes; log a smaller one"
                )
        return None if listed in (None, size) else f"{path!r} came out another size than listed"


def _limit_files_to(size: int) -> None:
    """Let this process write at most `size` bytes to a file; the hard limit stays, so it can be raised again."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))


@dataclass
class FreeSpace:
    """The free bytes of a file system, and whether they ever were too few."""

    directory: Path
    keep_free: int
    short: bool = False

    def is_short(self) -> bool:
        """Tell whether fewer bytes were free than stay free, at this look or an earlier one."""
        self.short = self.short or free_bytes(self.directory) < self.keep_free
        return self.short


@contextmanager
def watched(directory: Path, keep_free: int, meter: Meter, stop: Event) -> Iterator[FreeSpace]:
    """Watch the free bytes while files come in: a store need not list sizes, and others write to the disk as well.

    When too few are left, `stop` is set and `meter` cuts off the files under way.
    """
    space, done = FreeSpace(directory, keep_free), Event()

    def look() -> None:
        while not done.wait(_LOOK):
            if space.is_short():
                stop.set()
                meter.cut_off()
                return

    thread = Thread(target=look)
    thread.start()
    try:
        yield space
    finally:
        done.set()
        thread.join()
