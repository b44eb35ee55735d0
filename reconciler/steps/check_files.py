#!/usr/bin/python3 -IS
"""Digests of directories, and the check of them before a server starts; needs Python's own library only.

    check-files --model-files PIN MODEL [--environment-files PIN VENV] -- COMMAND ARGS...

compares directories with the digests in root's files, and becomes the command when they are equal. It is installed as a
program beside the launchers, and runs as the server's main process, in the server's sandbox.
"""

# Runs before each start of a server: without pathlib, and with paths that need not be text.
# ruff: noqa: PTH118, PTH119, PTH115, PTH123

import argparse
import hashlib
import os
import signal
import socket
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence

EX_CONFIG = 78
CHANGED = "cannot serve these files: "
"""How the check begins to say no; the reconciler knows the line by it."""
MAX_DEPTH = 200
"""Directories below one another; Python itself gives up at about a thousand."""


class OddFileError(Exception):
    """Something that is neither a file nor a directory, nor a link where links may be."""

    def __init__(self, path: str, kind: str) -> None:
        """Say which and what."""
        super().__init__(f"{path!r} is {kind}")


def walk(root: str, *, links: bool) -> Iterator[tuple[str, os.stat_result]]:
    """List the files below a directory, by relative path, and links where `links` allows them.

    Raises OddFileError for anything else, also when `root` itself is no directory; OSError.
    """
    if not stat.S_ISDIR(os.lstat(root).st_mode):
        raise OddFileError(os.path.basename(root), "not a directory")
    yield from _walk(root, "", links)


def _walk(root: str, prefix: str, links: bool) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(os.path.join(root, prefix)) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            path, status = f"{prefix}{entry.name}", entry.stat(follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                if path.count("/") > MAX_DEPTH:
                    raise OddFileError(f"{path[:40]}…", "below too many directories")
                yield from _walk(root, f"{path}/", links)
                continue
            is_link = stat.S_ISLNK(status.st_mode)
            if is_link and not links:
                raise OddFileError(path, "a symbolic link")
            if not is_link and not stat.S_ISREG(status.st_mode):
                raise OddFileError(path, "neither a file nor a directory")
            yield path, status


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Digest one file, without following a link in its last component and without waiting for a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OddFileError(os.path.basename(path), "neither a file nor a directory")
        return hashlib.file_digest(stream, "sha256").hexdigest()


def listing_line(size: int, sha256: str) -> str:
    """Return what a listing has of one file: its size in bytes and its SHA-256."""
    return f"{size} {sha256}"


def listing(root: str, *, links: bool = False) -> dict[str, str]:
    """Map each file below a directory to its line, bytecode too: that is what Python runs."""
    found = {}
    for path, status in walk(root, links=links):
        whole = os.path.join(root, path)
        is_link = stat.S_ISLNK(status.st_mode)
        found[path] = f"-> {os.readlink(whole)}" if is_link else listing_line(status.st_size, sha256_of(whole))
    return found


def digest(lines: Mapping[str, str]) -> str:
    """Return one digest, in hex, over the paths and lines of a listing."""
    whole = hashlib.sha256()
    for path in sorted(lines):
        whole.update(f"{path}\0{lines[path]}\0".encode(errors="surrogateescape"))
    return whole.hexdigest()


def read_pin(path: str) -> str | None:
    """Read the digest that root recorded; None when there is none."""
    try:
        with open(path, encoding="ascii") as stream:
            return stream.read(100).strip()
    except FileNotFoundError:
        return None


def why_changed(root: str, pin: str, what: str, *, links: bool) -> str | None:
    """Say what is wrong with a directory; None when it is as root recorded it in the file `pin`."""
    recorded = read_pin(pin)
    if not recorded:  # an empty file would otherwise match nothing, and look like a change of the files
        return f"nothing is recorded of {what} to compare with"
    try:
        found = digest(listing(root, links=links))
    except OddFileError as error:
        return f"{what}: {error}"
    except OSError as error:
        return f"{what}: {error.filename or root}: {error.strerror}"
    return None if found == recorded else f"{what} is not as it was when it was recorded here"


def main() -> None:
    """Compare, then become the command; or say why not and end with 78, which nobody starts again."""
    parser = argparse.ArgumentParser(prog="check-files")
    parser.add_argument("--model-files", nargs=2, required=True, metavar=("PIN", "MODEL"))
    parser.add_argument("--environment-files", nargs=2, metavar=("PIN", "VENV"))
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    # The server's own signals, to stand by or to answer, wait until it has handlers: without any they end the process.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGUSR1, signal.SIGUSR2))
    why = _why_not_these(options.model_files, options.environment_files)
    if why is None:
        os.execv(options.command[0], options.command)  # noqa: S606 - the unit's own command, without a shell
    sentence = f"{CHANGED}{why}; they are verified and made anew"
    line = "".join(letter if letter.isprintable() else "?" for letter in sentence)  # a file's name may be anything
    sys.stderr.write(f"{line}\n")
    _notify(line)
    sys.exit(EX_CONFIG)


def _why_not_these(model_files: Sequence[str], environment_files: Sequence[str] | None) -> str | None:
    """Say which directory changed since root recorded it; None when the server may start. Each is a pin and a path."""
    pin, model = model_files
    why = why_changed(model, pin, "the model's directory", links=False)
    if why is None and environment_files:
        pin, venv = environment_files
        why = why_changed(venv, pin, "the environment", links=True)
    return why


def _notify(line: str) -> None:
    """Tell systemd a status, without the product's own code: this program runs in the server's sandbox."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    is_abstract = address.startswith("@")
    target = f"\0{address[1:]}" if is_abstract else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
        notify.sendto(f"STATUS={line}".encode(), target)


if __name__ == "__main__":
    main()
