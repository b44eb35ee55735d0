"""Runs programs of a step: stops them when the disk gets full, and ends every process that they leave behind."""

import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reconciler.core.text.sizes import human_size
from reconciler.steps.step_report import StepError, print_line

_LOOK = 0.1
"""Seconds between two looks at the room that is left."""
_PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 4, 36


@dataclass(frozen=True)
class Room:
    """The directory that a step works in, and the bytes that stay free on its file system."""

    directory: Path
    keep_free: int = 0

    def why_short(self) -> str | None:
        """Say what is short on the file system; None when there is room."""
        status = os.statvfs(self.directory)
        if status.f_bavail * status.f_frsize < self.keep_free:
            return f"less than the {human_size(self.keep_free)} that stay free on this host would be left"
        # A hundred thousand empty files need hardly any bytes. File systems without a fixed number of files say 0.
        has_few_inodes = status.f_favail * 100 < status.f_files
        if self.keep_free and has_few_inodes:
            return "its files are so many that this host's file system would have no room for more"
        return None


def adopt() -> None:
    """Become the parent of orphans below this process, and close it to other processes of the same user.

    So no process that a program leaves behind gets away from `end_all`, and none reads this process's secrets.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    for option, value in ((_PR_SET_CHILD_SUBREAPER, 1), (_PR_SET_DUMPABLE, 0)):
        if libc.prctl(option, value, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "cannot be set", "prctl")


def end_all() -> None:
    """Kill all processes below this one, and return when none is left. Call `adopt` before."""
    ended = 0
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            break  # no child is left; orphans would have become children
        for child in _children():
            try:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            except (ProcessLookupError, ChildProcessError):
                continue  # it ended by itself
            ended += 1
    if ended:
        print_line(f"processes that were left behind and are ended now: {ended}")


def run(
    command: Sequence[str | Path], *, room: Room, environment: Mapping[str, str], descriptors: Sequence[int] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a program in the room's directory to its end, and end every process that it leaves behind.

    Raises StepError when it takes the room that stays free; FileNotFoundError when there is no such program.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 - a program of ours or the host's, without a shell
            command,
            cwd=room.directory,
            env=environment,
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        short = None
        while True:
            try:
                output, errors = process.communicate(timeout=_LOOK)
                break
            except subprocess.TimeoutExpired:
                short = short or room.why_short()
                if short:
                    process.kill()
                has_ended = process.poll() is not None
                if has_ended:
                    end_all()  # a process that it left behind holds its output open
    finally:
        end_all()
    short = short or room.why_short()  # it may have filled the disk after the last look
    if short:
        raise StepError(
            f"cannot build the environment: {short}; make room on the host, or log the model with smaller packages"
        )
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def _children() -> list[int]:
    """List the children of this process, hidden ones too: /proc may hide processes of other users."""
    children: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        try:
            children += map(int, (task / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue  # a thread that has just ended
    return children
