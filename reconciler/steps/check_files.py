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
from collections.abc import Iterator, Mapping

EX_CONFIG = 78
CHANGED = "cannot serve these files: "
"""How the check begins to say no."""
MAX_DEPTH = 200
"""Directories below one another; Python itself gives up at about a thousand."""


class OddFileError(Exception):
    """Something that is neither a file nor a directory, nor a link where links may be."""

    def __init__(self, path: str, kind: str) -> None:
        """Say which and what."""
        super().__init__(f"{path!r} is {kind}")


def walk(root: str, *, links: bool) -> Iterator[tuple[str, os.stat_result]]:
    """List files, and links if these may be there, below a directory, which is no link either."""
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
            elif stat.S_ISREG(status.st_mode) or (links and stat.S_ISLNK(status.st_mode)):
                yield path, status
            else:
                is_link = stat.S_ISLNK(status.st_mode)
                raise OddFileError(path, "a symbolic link" if is_link else "neither a file nor a directory")


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Digest one file, without following a link in its last component and without waiting for a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OddFileError(os.path.basename(path), "neither a file nor a directory")
        return hashlib.file_digest(stream, "sha256").hexdigest()


def line(size: int, sha256: str) -> str:
    """What counts of one file."""
    return f"{size} {sha256}"


def listing(root: str, *, links: bool = False) -> dict[str, str]:
    """What counts of each file below a directory, bytecode too: it is what Python runs."""
    found = {}
    for path, status in walk(root, links=links):
        whole = os.path.join(root, path)
        is_link = stat.S_ISLNK(status.st_mode)
        found[path] = f"-> {os.readlink(whole)}" if is_link else line(status.st_size, sha256_of(whole))
    return found


def digest(lines: Mapping[str, str]) -> str:
    """One digest over all of a listing."""
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


def why_not(root: str, pin: str, what: str, *, links: bool) -> str | None:
    """Say what is wrong with a directory; None when it is the one that was recorded."""
    recorded = read_pin(pin)
    if not recorded:
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
    # The server's, which it takes up again: to stand by, or to answer. Without a handler they would kill the process.
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGUSR1, signal.SIGUSR2))
    why = why_not(options.model_files[1], options.model_files[0], "the model's directory", links=False)
    if why is None and options.environment_files:
        pin, venv = options.environment_files
        why = why_not(venv, pin, "the environment", links=True)
    if why is None:
        os.execv(options.command[0], options.command)  # noqa: S606 - the unit's own command, without a shell
    said = "".join(one if one.isprintable() else "?" for one in f"{CHANGED}{why}; they are verified and made anew")
    sys.stderr.write(f"{said}\n")
    _notify(said)
    sys.exit(EX_CONFIG)


def _notify(said: str) -> None:
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
            notify.sendto(f"STATUS={said}".encode(), f"\0{address[1:]}" if address[0] == "@" else address)


if __name__ == "__main__":
    main()
