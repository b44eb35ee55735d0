"""The image of the product for a cluster, made of the checkout as it is: package, base and Containerfile."""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.host.host import BASE, CHECKOUT

KEPT = BASE / "kubernetes-image"
NAME = "localhost/mlflow-systemd"
BUILD_SECONDS = 1800
_HOME = "/usr/lib/mlflow-systemd"
"""Where the package has its files."""
_NOT_RUN = (":(exclude)tests", ":(exclude)docs", ":(exclude)*.md", ":(exclude)requirements-dev.lock")
"""What git leaves out; documents are in the package, but nothing in a cluster reads them."""
_WHOLE = (":/requirements.lock", ":/modelserver/requirements.lock", ":/package", ":/systemd/install.sh")
"""What decides all that takes long: Python's packages, and how they are installed."""
_BASE = "localhost/base:latest"
_IN_BASE = "ca-certificates,dbus,python3,python3-gi,python3-systemd,systemd"
"""What the Containerfile installs first: in the base already, where it is kept."""


def missing() -> str | None:
    """None if the image can be made here, else what is missing and how to get it."""
    programs = [program for program in ("buildah", "debootstrap") if shutil.which(program) is None]
    if programs:
        return f"Debian packages are missing; run apt-get install --no-install-recommends {' '.join(programs)}"
    return None


def product_image(directory: Path = KEPT) -> Path:
    """Give an OCI archive with the image; it is kept in `directory` until what it is made of changes.

    The first time it is made of the package, by the Containerfile, in some minutes and 5 GB of disk. Until the locks
    or the Containerfile change, only the program in that image is exchanged, by the same installation.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    archive = directory / f"mlflow-systemd-{_digest('.', *_NOT_RUN)}.tar"
    with _locked(directory / "lock"):
        if not archive.is_file():
            for former in directory.glob("mlflow-systemd-*.tar"):
                former.unlink()
            try:
                _make(directory, archive)
            finally:
                _unmount(directory / "storage/overlay")
    return archive


def _unmount(place: Path) -> None:
    """Undo what a buildah that was killed leaves: its storage mounted upon itself."""
    if os.path.ismount(place):
        _run(["umount", str(place)])


def _digest(*which: str) -> str:
    """What decides the content: this Python, and the files of the checkout that git does not ignore."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *which],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    digest = hashlib.sha256(f"{platform.machine()} {Path('/usr/bin/python3').resolve()}".encode())
    for name in sorted({*listed.split("\0")} - {""}):
        path = CHECKOUT / name
        if path.is_file():
            digest.update(f"{name}\0{path.stat().st_mode & 0o111}\0".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _make(directory: Path, archive: Path) -> None:
    built = f"{NAME}:{archive.stem.rpartition('-')[2]}"
    whole = f"localhost/whole:{_digest(*_WHOLE)}"
    if _has(directory, whole):
        _exchange_program(directory, whole, built)
    else:
        _make_base(directory)
        _make_whole(directory, whole)
        _buildah(directory, "tag", whole, built)
    unfinished = archive.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    _buildah(directory, "push", "--quiet", "--disable-compression", built, f"oci-archive:{unfinished}:{built}")
    _buildah(directory, "rmi", "--force", built)
    unfinished.rename(archive)


def _make_whole(directory: Path, whole: str) -> None:
    with tempfile.TemporaryDirectory(dir=directory, prefix="context-") as context:
        environment = {**os.environ, "UV_CACHE_DIR": str(directory / "uv-cache")}
        _run([str(CHECKOUT / "dev"), "package", "--to", context], environment)
        options = ["--isolation", "chroot", "--build-arg", f"BASE={_BASE}", "--pull-never"]
        containerfile = str(CHECKOUT / "package/Containerfile")
        _buildah(directory, "bud", *options, "--file", containerfile, "--tag", whole, context)


def _exchange_program(directory: Path, whole: str, built: str) -> None:
    """Install the program of now in an image that has the packages that it needs already."""
    # The environment is there, and the archive that the package has of it is not looked into.
    script = f"""cd {_HOME} && touch environment.tar.gz && ./dev install --program-only && rm environment.tar.gz
        cd /opt/mlflow-reconciler/versions && ls | grep -vx "$(basename "$(realpath ../current)")" | xargs rm -rf"""
    container = _buildah(directory, "from", "--pull-never", whole).strip()
    try:
        home = Path(_buildah(directory, "mount", container).strip() + _HOME)
        for name in _packed():
            if (CHECKOUT / name).is_dir():
                shutil.rmtree(home / name, ignore_errors=True)
                shutil.copytree(CHECKOUT / name, home / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(CHECKOUT / name, home / name)
        run = ("run", "--isolation", "chroot", "--user", "root", container, "--")
        _buildah(directory, *run, "/bin/bash", "-euc", script)
        _buildah(directory, "commit", "--quiet", container, built)
    finally:
        _buildah(directory, "rm", container)


def _packed() -> list[str]:
    """The names of what the package has of the checkout, as package/build.sh says them."""
    script = 'checkout=$PWD venv=none; source package/build.sh; printf "%s\\n" "${packed[@]}"'
    done = subprocess.run(["bash", "-euc", script], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    return done.stdout.split()


def _has(directory: Path, name: str) -> bool:
    return bool(_buildah(directory, "images", "--quiet", "--filter", f"reference={name}").strip())


def _make_base(directory: Path) -> None:
    """Import a small Debian of this machine's release, which is the one that the package is for."""
    if _has(directory, _BASE):
        return
    release = platform.freedesktop_os_release()["VERSION_CODENAME"]
    with tempfile.TemporaryDirectory(dir=directory, prefix="base-") as root:
        _run(["debootstrap", "--variant=minbase", f"--include={_IN_BASE}", release, root, _mirror(release)])
        shutil.rmtree(f"{root}/var/cache/apt/archives")
        # As in images of Debian that people use: translations are not fetched.
        Path(root, "etc/apt/apt.conf.d/no-languages").write_text('Acquire::Languages "none";\n')
        container = _buildah(directory, "from", "scratch").strip()
        _buildah(directory, "copy", "--quiet", container, root, "/")
        _buildah(directory, "commit", "--quiet", "--rm", container, _BASE)


def _mirror(release: str) -> str:
    """From where this machine's apt has the main part of the release."""
    filters = (f"Codename: {release}", "Component: main", "Created-By: Packages")
    found = _run(["apt-get", "indextargets", "--format", "$(REPO_URI)", *filters]).splitlines()
    assert found, f"apt knows no repository of {release}; run apt-get update"
    return found[0]


def _buildah(directory: Path, *arguments: str) -> str:
    places = ("--root", str(directory / "storage"), "--runroot", str(directory / "run"), "--storage-driver", "overlay")
    return _run(["buildah", *places, *arguments])


def _run(command: list[str], environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=BUILD_SECONDS)
    if done.returncode:
        said = f"{done.stdout[-4000:]}{done.stderr[-4000:]}"
        raise RuntimeError(f"cannot make the image: `{' '.join(command)}` ended with {done.returncode}:\n{said}")
    return done.stdout


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
