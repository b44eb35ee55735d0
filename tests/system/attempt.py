"""Tries things from inside a sandbox and says what came of each: run as a program, or used as the code of a model.

As a program it reads a JSON list of [what, target] from stdin and prints the outcomes as another.
"""

import ctypes
import errno
import json
import mmap
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

DONE = "done"
CLONE_NEWUSER = 0x10000000


def try_all(attempts: list[list[str]]) -> list[str]:
    """Try one thing after the other; each outcome is `done` or the name of the errno."""
    return [_try(what, target) for what, target in attempts]


def _try(what: str, target: str) -> str:
    try:
        WAYS[what](target)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return DONE


def _list(path: str) -> None:
    list(Path(path).iterdir())


def _read(path: str) -> None:
    Path(path).read_bytes()


def _write(path: str) -> None:
    with Path(path).open("r+b"):
        pass


def _create(path: str) -> None:
    Path(path).touch(exist_ok=False)
    Path(path).unlink()


def _open_socket(family: str) -> None:
    kind = socket.SOCK_RAW if family == "AF_NETLINK" else socket.SOCK_STREAM
    socket.socket(getattr(socket, family), kind).close()


def _connect(address: str) -> None:
    host, _, port = address.rpartition(":")
    socket.create_connection((host, int(port)), timeout=5).close()


def _connect_unix(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(path)


def _write_to_the_journal(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagrams:
        datagrams.sendto(b"MESSAGE=forged\nMODEL=neighbour\n", path)


def _execute(path: str) -> None:
    Path(path).write_text("#!/bin/sh\n")
    Path(path).chmod(0o755)
    try:
        subprocess.run([path], check=True)
    finally:
        Path(path).unlink()


def _unshare(_target: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER):
        raise OSError(ctypes.get_errno(), "unshare")


def _map_code(_target: str) -> None:
    mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


WAYS: dict[str, Callable[[str], None]] = {
    "list": _list,
    "read": _read,
    "write": _write,
    "create": _create,
    "socket": _open_socket,
    "connect": _connect,
    "connect to": _connect_unix,
    "forge an entry through": _write_to_the_journal,
    "execute": _execute,
    "become root in a namespace": _unshare,
    "write and run memory": _map_code,
}

if __name__ == "__main__":
    print(json.dumps(try_all(json.load(sys.stdin))))  # noqa: T201 - what the test reads
