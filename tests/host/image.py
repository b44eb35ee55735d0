"""A host with the product installed, to boot others from it as fast as one without."""

import fcntl
import hashlib
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.host.host import BASE, CHECKOUT, CHECKOUT_INSIDE, Host
from tests.host.layers import Layers
from tests.host.registry import prepare_registry

ENVIRONMENTS = "opt/mlflow-reconciler/environments"
LOCKS = (CHECKOUT / "requirements.lock", CHECKOUT / "modelserver/requirements.lock")
INSTALL_SECONDS = 900  # a cold cache of packages behind a slow line; some 20 s are usual


@contextmanager
def installed_image() -> Iterator[Layers]:
    """Install the checkout as it is now into a host with `./dev install`; gives its layers, for `Host(base=...)`."""
    with prepared_environments() as seed:
        host = Host("image", seed=seed)
    with host:
        host.run([f"{CHECKOUT_INSIDE}/dev", "install", "--no-start"], timeout=INSTALL_SECONDS)
        prepare_registry(host)
        host.power_off()
        shutil.rmtree(host.root / "var/log/journal", ignore_errors=True)  # of this boot, and of no interest to others
        yield host.layers


@contextmanager
def prepared_environments() -> Iterator[dict[str, Path]]:
    """Give the packages of the locks, installed: they take long and seldom change, so they are kept on disk.

    Where the file system cannot keep them (see Layers.mount) there is nothing to give. They may be removed as soon
    as the context ends: by then they are hard-linked into a host.
    """
    directory = BASE / "prepared"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    digest = _digest()
    prepared = directory / digest
    lock = os.open(directory / f"{digest}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not prepared.is_dir():
            _remove_unused(directory, digest)
            _prepare(prepared)
        yield {ENVIRONMENTS: prepared} if prepared.is_dir() else {}
    finally:
        os.close(lock)


def _prepare(prepared: Path) -> None:
    with Host("prepare") as host:
        if host.layers.volatile:
            return
        host.run([f"{CHECKOUT_INSIDE}/dev", "install", "--prepare"], timeout=INSTALL_SECONDS)
        host.power_off()
        host.layers.unmount()
        (host.layers.upper / ENVIRONMENTS).rename(prepared)


def _digest() -> str:
    """What decides their content: the locks, how it is installed, the interpreter, the machine's packages."""
    digest = hashlib.sha256(f"{platform.machine()} {Path('/usr/bin/python3').resolve()}".encode())
    for path in (*LOCKS, CHECKOUT / "systemd/install.sh", Path("/var/lib/dpkg/status")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _remove_unused(directory: Path, but: str) -> None:
    """Delete what former locks needed and no session uses."""
    for lock_file in directory.glob("*.lock"):
        if lock_file.stem == but:
            continue
        with lock_file.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            if (directory / lock_file.stem).is_dir():
                shutil.rmtree(directory / lock_file.stem)
            lock_file.unlink()
