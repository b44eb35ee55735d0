"""Real Docker inside a booted host: Debian's engine and its compose, and an image made of this machine's Python.

    with docker.storage() as options, installed_host(image, "name", nspawn_options=options) as host:
        docker.start(host)
        docker.make_image(host, "original", {"main.py": …})

Containers have the host's network, which is this machine's, so the engine makes no bridge and no rule of a firewall.
"""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.host.cgroup import CGROUP_ROOT
from tests.host.host import BASE, Host

_KEYRING = "--system-call-filter=@keyring"
_STORAGE = ("/var/lib/docker", "/var/lib/containers")
MISSING = [program for program in ("dockerd", "docker-compose", "runc") if shutil.which(program) is None]
"""Programs that this machine lacks: apt-get install --no-install-recommends docker.io docker-compose iptables."""
TESTED_COMPOSE = os.environ.get("TESTED_COMPOSE", "")
"""A program of docker compose, version 2, that is used in place of Debian 12's version 1."""
_CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids")
_DAEMON = {"iptables": False, "ip-forward": False, "bridge": "none"}
_PACKAGES = ("nats", "nkeys", "nacl", "boto3", "botocore", "s3transfer", "urllib3", "jmespath", "dateutil", "six.py")
_EXPECTED_BY_WHEELS = ("libstdc++.so.6", "libgcc_s.so.1", "librt.so.1", "libpthread.so.0", "libdl.so.2", "libm.so.6")
"""Libraries that wheels such as numpy's take for granted on any Linux."""
_GROUPS = "docker-of-"
"""How the control groups of an engine in a host begin, which are beside those of the host."""
_NOT_NEEDED = ("dist-packages", "test", "tests", "idlelib", "__pycache__", "ensurepip", "config-3")


@contextmanager
def storage() -> Iterator[tuple[str, ...]]:
    """Give the options of systemd-nspawn that a host needs: a place for images that outlives a power-off.

    On a host's own root, which is an overlay, the engine would copy every layer.
    """
    BASE.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="images-", dir=BASE))
    try:
        binds = []
        for number, place in enumerate(_STORAGE):
            (directory / str(number)).mkdir()
            binds.append(f"--bind={directory / str(number)}:{place}")
        yield (_KEYRING, *binds)
    finally:
        shutil.rmtree(directory)
        for group in CGROUP_ROOT.glob(f"*/{_GROUPS}*"):
            _remove_empty_groups(group)


def _remove_empty_groups(top: Path) -> None:
    """Remove control groups from their leaves; those of a host that still runs are busy, and stay."""
    for directory, _, _ in os.walk(top, topdown=False):
        with suppress(OSError):
            Path(directory).rmdir()


def start(host: Host, engine: str = "docker") -> None:
    """Start an engine, `docker` or `podman`, in a host, whose systemd shows it the control groups read-only."""
    places = [CGROUP_ROOT, *(CGROUP_ROOT / name for name in _CONTROLLERS if (CGROUP_ROOT / name).is_dir())]
    host.run(f"for one in {' '.join(map(str, places))}; do mount -o remount,bind,rw $one; done")
    if TESTED_COMPOSE:
        plugin = host.root / "usr/libexec/docker/cli-plugins/docker-compose"
        plugin.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(TESTED_COMPOSE, plugin)
    if engine == "podman":
        host.run(["systemctl", "start", "podman.socket"], timeout=120)
        return
    # A parent of its own name, which `storage` finds and removes: the engine leaves it.
    host.write("/etc/docker/daemon.json", json.dumps({**_DAEMON, "cgroup-parent": f"/{_GROUPS}{host.name}"}))
    host.run(["systemctl", "start", "docker.service"], timeout=120)


def make_image(host: Host, name: str, files: Mapping[str, bytes], *, engine: str = "docker") -> str:
    """Import an image with this machine's Python, nats-py and boto3, a shell, and these files in /app; gives its id."""
    command = [engine, "import", "--change", "WORKDIR /app", "-", name]
    importing = subprocess.Popen([*host.enter(), *command], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert importing.stdin is not None
    with importing.stdin as pipe, tarfile.open(fileobj=pipe, mode="w|", dereference=True) as archive:
        _add_python(archive)
        for path, content in files.items():
            _add_bytes(archive, f"app/{path}", content)
    assert importing.wait(120) == 0
    shown = host.output([engine, "image", "inspect", "--format", "{{.Id}}", name])
    return f"sha256:{shown.removeprefix('sha256:')}"


def _add_python(archive: tarfile.TarFile) -> None:
    python = Path("/usr/bin/python3").resolve()
    library = Path(f"/usr/lib/python{sys.version_info.major}.{sys.version_info.minor}")
    site = next(Path(entry) for entry in sys.path if entry.endswith("site-packages"))
    binaries = [python, Path("/bin/sh").resolve(), *library.glob("lib-dynload/*.so"), *site.glob("nacl/*.so")]
    binaries += site.glob("_cffi_backend*.so")
    expected = [path for name in _EXPECTED_BY_WHEELS for path in Path("/usr/lib").glob(f"*-linux-gnu/{name}")]
    for path in sorted({*binaries[:2], *_libraries([*binaries, *expected]), *expected}):
        archive.add(path, str(path).lstrip("/"))
    archive.add(library, str(library).lstrip("/"), filter=_needed)
    target = "usr/lib/python3/dist-packages"
    for package in (*_PACKAGES, *(path.name for path in site.glob("_cffi_backend*.so")), "cffi"):
        if (site / package).exists():
            archive.add(site / package, f"{target}/{package}", filter=_needed)
    for link, to in {"usr/bin/python": python, "usr/bin/python3": python, "bin": "usr/bin", "lib": "usr/lib"}.items():
        _add_link(archive, link, str(to))
    _add_link(archive, "usr/bin/sh", str(Path("/bin/sh").resolve()))
    _add_link(archive, "lib64", "usr/lib64")
    _add_bytes(archive, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")


def _needed(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    # Below usr/lib/python3.11 or usr/lib/python3/dist-packages.
    below = Path(member.name.replace("python3/dist-packages", "python3")).parts[3:]
    return None if any(part.startswith(_NOT_NEEDED) for part in below) else member


def _libraries(binaries: Iterable[Path]) -> set[Path]:
    """The shared libraries of programs, and their loader, at the paths that they have here."""
    found = set()
    for binary in binaries:
        listed = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=False).stdout
        for word in listed.split():
            if word.startswith("/"):
                found.add(_under_usr(Path(word)))
    return found


def _under_usr(path: Path) -> Path:
    """The place of a library on a merged /usr, its own name kept."""
    return path if path.is_relative_to("/usr") else Path("/usr", *path.parts[1:])


def _add_bytes(archive: tarfile.TarFile, path: str, content: bytes) -> None:
    member = tarfile.TarInfo(path)
    member.size, member.mode = len(content), 0o644
    archive.addfile(member, io.BytesIO(content))


def _add_link(archive: tarfile.TarFile, path: str, target: str) -> None:
    member = tarfile.TarInfo(path)
    member.type, member.linkname = tarfile.SYMTYPE, target
    archive.addfile(member)
