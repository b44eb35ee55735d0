"""Leaves a mark wherever a program can leave one for others on its host, and finds such marks.

As a program, `leave MARK` leaves them all, says which, and stays until it is ended, and `find MARK` prints where they
are; else the code of a model.
"""

import ctypes
import json
import mmap
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

EVERYBODY = 0o666
KEY = 0x51B7E2
IPC_CREAT, IPC_NOWAIT, IPC_STAT, SETVAL, GETVAL = 0o1000, 0o4000, 2, 16, 12
ADD_KEY, KEYCTL, KEYCTL_SETPERM, KEYCTL_READ, SESSION = 248, 250, 5, 11, -3
TIOCSPTLCK, TIOCGPTN = 0x40045431, 0x80045430
DIRECTORIES = ("/dev/shm", "/tmp", "/var/tmp")  # noqa: S108 - where programs leave things
kept: list[object] = []
"""What lives no longer than its descriptor."""
_libc = ctypes.CDLL(None, use_errno=True)
_libc.shmat.restype = ctypes.c_void_p


def _checked(result: int) -> int:
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _file(directory: str) -> Callable[[bytes], None]:
    def leave(mark: bytes) -> None:
        path = Path(directory) / f"left-{os.getuid()}"
        path.write_bytes(mark)
        path.chmod(EVERYBODY)

    return leave


def _pipe(mark: bytes) -> None:
    path = f"/dev/shm/pipe-{mark.decode()}"  # noqa: S108 - the place is the point
    os.mkfifo(path)
    Path(path).chmod(EVERYBODY)


def _segment(mark: bytes) -> None:
    number = _checked(_libc.shmget(KEY, mmap.PAGESIZE, IPC_CREAT | EVERYBODY))
    ctypes.memmove(_libc.shmat(number, None, 0), mark, len(mark))


def _message(mark: bytes) -> None:
    number = _checked(_libc.msgget(KEY, IPC_CREAT | EVERYBODY))
    _checked(_libc.msgsnd(number, struct.pack("l", 1) + mark, len(mark), IPC_NOWAIT))


def _semaphore(mark: bytes) -> None:
    number = _checked(_libc.semget(KEY, 1, IPC_CREAT | EVERYBODY))
    _checked(_libc.semctl(number, 0, SETVAL, mark[0]))


def _queue(mark: bytes) -> None:
    queue = _checked(_libc.mq_open(f"/{mark.decode()}".encode(), os.O_CREAT | os.O_RDWR, EVERYBODY, None))
    kept.append(queue)
    _checked(_libc.mq_send(queue, mark, len(mark), 0))
    os.fchmod(queue, EVERYBODY)


def _key(mark: bytes) -> None:
    number = _checked(_libc.syscall(ADD_KEY, b"user", b"left-" + mark, mark, len(mark), SESSION))
    _checked(_libc.syscall(KEYCTL, KEYCTL_SETPERM, number, 0x3F3F3F3F))


def _terminal(mark: bytes) -> None:
    import fcntl

    terminal = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
    kept.append(terminal)
    fcntl.ioctl(terminal, TIOCSPTLCK, struct.pack("i", 0))
    (number,) = struct.unpack("i", fcntl.ioctl(terminal, TIOCGPTN, struct.pack("i", 0)))
    other = f"/dev/pts/{number}"
    kept.append(os.open(other, os.O_RDWR | os.O_NOCTTY))
    Path(other).chmod(EVERYBODY)
    os.write(terminal, mark + b"\n")


def _abstract(mark: bytes) -> None:
    listener = socket.socket(socket.AF_UNIX)
    kept.append(listener)
    listener.bind(b"\0left-" + mark)
    listener.listen()


WAYS: dict[str, Callable[[bytes], None]] = {
    **{directory: _file(directory) for directory in DIRECTORIES},
    "pipe": _pipe,
    "segment": _segment,
    "message": _message,
    "semaphore": _semaphore,
    "queue": _queue,
    "key": _key,
    "terminal": _terminal,
    "abstract socket": _abstract,
}


def leave(mark: str) -> list[str]:
    """Leave a mark in every way; gives those that were not refused."""
    done = []
    for way, act in WAYS.items():
        with suppress(OSError):
            act(mark.encode())
            done.append(way)
    return done


def _in_directories(mark: bytes) -> Iterator[str]:
    for top in DIRECTORIES:
        for directory, _, files in os.walk(top):
            for name in files:
                path = Path(directory) / name
                if path.is_fifo() and mark.decode() in name:
                    yield "pipe"
                with suppress(OSError):
                    if path.is_file() and mark in path.read_bytes():
                        yield top


def _numbers(kind: str) -> list[int]:
    """The numbers of all objects of System V's that there are."""
    return [int(line.split()[1]) for line in Path(f"/proc/sysvipc/{kind}").read_text().splitlines()[1:]]


def _in_system_v(mark: bytes) -> Iterator[str]:
    for number in _numbers("shm"):
        address = _libc.shmat(number, None, 0o10000)
        if address not in (None, ctypes.c_void_p(-1).value) and ctypes.string_at(address, len(mark)) == mark:
            yield "segment"
    for number in _numbers("msg"):
        room = ctypes.create_string_buffer(8192)
        if _libc.msgrcv(number, room, 8000, 0, IPC_NOWAIT) > 0 and mark in room.raw:
            yield "message"
    for number in _numbers("sem"):
        if _libc.semctl(number, 0, GETVAL) == mark[0]:
            yield "semaphore"


def _in_queues(mark: bytes) -> Iterator[str]:
    for path in Path("/dev/mqueue").iterdir():
        queue = _libc.mq_open(f"/{path.name}".encode(), os.O_RDONLY | os.O_NONBLOCK)
        room = ctypes.create_string_buffer(65536)
        if queue != -1 and _libc.mq_receive(queue, room, len(room), None) > 0 and mark in room.raw:
            yield "queue"


def _in_keys(mark: bytes) -> Iterator[str]:
    for line in Path("/proc/keys").read_text().splitlines():
        room = ctypes.create_string_buffer(4096)
        if _libc.syscall(KEYCTL, KEYCTL_READ, int(line.split()[0], 16), room, len(room)) > 0 and mark in room.raw:
            yield "key"


def _in_terminals(mark: bytes) -> Iterator[str]:
    for path in Path("/dev/pts").iterdir():
        with suppress(OSError):
            terminal = os.open(path, os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK)
            if mark in os.read(terminal, 65536):
                yield "terminal"


def _in_sockets(mark: bytes) -> Iterator[str]:
    if mark in Path("/proc/net/unix").read_bytes():
        yield "abstract socket"


def find(mark: str) -> list[str]:
    """Look in all these places; gives the ways by which a mark arrived."""
    places = (_in_directories, _in_system_v, _in_queues, _in_keys, _in_terminals, _in_sockets)
    return sorted({way for place in places for way in place(mark.encode())})


if __name__ == "__main__":
    word, text = sys.argv[1:]
    print(json.dumps({"leave": leave, "find": find}[word](text)), flush=True)  # noqa: T201 - what the test reads
    if word == "leave":
        signal.pause()
