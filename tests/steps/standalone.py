"""Interpreters as uv downloads them, made from one of this machine: a mirror of tarballs, and the list of them."""

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path

PLACES = (Path.home() / ".pyenv/versions", Path("/opt/python"))
"""Where a machine for tests may have further interpreters, each in a directory of its own."""
_LEFT_OUT = ("site-packages", "test", "tests", "__pycache__", "idlelib", "ensurepip", "pkgconfig")


def interpreter_of_this_machine(*minors: str) -> tuple[str, Path] | None:
    """Find one that is in a directory of its own, outside of the usual path: its version and its directory."""
    for minor in minors:
        for place in PLACES:
            for directory in sorted(place.glob(f"{minor}.*")):
                if (directory / "bin" / f"python{minor}").is_file():
                    return directory.name, directory
    return None


def mirror(directory: Path, version: str, interpreter: Path, release: str = "20240101") -> Path:
    """Make a mirror of one interpreter; return the list of it, in uv's form, with the digest of the tarball."""
    machine = platform.machine()
    file = f"cpython-{version}+{release}-{machine}-unknown-linux-gnu-install_only_stripped.tar.gz"
    (directory / release).mkdir(parents=True)
    program = f"bin/python{version.rpartition('.')[0]}"
    with tarfile.open(directory / release / file, "w:gz", compresslevel=1) as archive:
        archive.add(interpreter / "lib", "python/lib", filter=_kept)
        # It would find its own library where it was installed, and nowhere else.
        content = (interpreter / program).read_bytes()
        place = f"{interpreter}/lib".encode()
        content = content.replace(place + b"\0", b"$ORIGIN/../lib".ljust(len(place), b"\0") + b"\0")
        member = tarfile.TarInfo(f"python/{program}")
        member.size, member.mode = len(content), 0o755
        archive.addfile(member, io.BytesIO(content))
    return listed(directory / "list.json", version, directory / release / file, release)


def listed(path: Path, version: str, file: Path, release: str, **changed: object) -> Path:
    """Write a list of one interpreter; `changed` replaces what it says of it."""
    major, minor, patch = map(int, version.split("."))
    machine = platform.machine()
    url = f"https://github.com/astral-sh/python-build-standalone/releases/download/{release}/{file.name}"
    entry = {
        **{"name": "cpython", "arch": {"family": machine, "variant": None}, "os": "linux", "libc": "gnu"},
        **{"major": major, "minor": minor, "patch": patch, "prerelease": "", "variant": None, "build": release},
        **{"url": url.replace("+", "%2B"), "sha256": hashlib.sha256(file.read_bytes()).hexdigest(), **changed},
    }
    path.write_text(json.dumps({f"cpython-{version}-linux-{machine}-gnu": entry}))
    return path


def _kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    parts = Path(member.name).parts
    is_left_out = bool(set(_LEFT_OUT) & set(parts)) or member.name.endswith(".a")
    return None if is_left_out else member
