"""A terminal on a host, in which commands are typed one after another."""

import array
import fcntl
import os
import pty
import select
import shlex
import subprocess
import termios
import time

from tests.host import Host

COLUMNS, LINES = 80, 50
_END = "\x1e"


class Shell:
    """One person's bash, for the commands of one page. It is a context manager.

    Commands print to a terminal of 80 columns without colours, and read from nowhere.
    """

    def __init__(self, host: Host, directory: str, user: str | None, path: str = "") -> None:
        """Start it in a directory. `user`: None for root. `path`: directories to look for programs in first."""
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, array.array("H", [LINES, COLUMNS, 0, 0]))
        mode = termios.tcgetattr(theirs)
        mode[1] &= ~termios.OPOST  # no carriage returns
        termios.tcsetattr(theirs, termios.TCSANOW, mode)
        self._bash = subprocess.Popen(
            [*host.enter(user), "bash", "--noprofile", "--norc"],
            # As if root had come by sudo.
            env=host.environment({"TERM": "dumb", "TZ": "UTC", **({} if user else {"SUDO_USER": "ana"})}),
            stdin=subprocess.PIPE,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        # Root needs no sudo, and a host need not have it.
        sudo = 'sudo() { "$@"; }; ' if user is None else ""
        self.type(f'{sudo}export PATH="{path}$PATH"; mkdir -p {directory}; cd {directory}')

    def __enter__(self) -> "Shell":
        """Give the shell."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._bash.kill()
        self._bash.wait()
        os.close(self._ours)

    def type(self, command: str, *, is_script: bool = False, timeout: float = 120) -> tuple[int, str]:
        """Run a command; gives its exit status and what it printed.

        A script is a process of its own, and ends where it fails. Raises TimeoutError.
        """
        assert self._bash.stdin is not None
        run = f"eval {shlex.quote(command)} </dev/null"
        line = f"{f'( set -e; {run} )' if is_script else run}; printf '{_END}%d{_END}' $?\n"
        self._bash.stdin.write(line.encode())
        self._bash.stdin.flush()
        printed, _, status = self._read(time.monotonic() + timeout, command).partition(_END)
        return int(status.rstrip(_END) or self._bash.wait()), printed

    def _read(self, end: float, command: str) -> str:
        """Read up to the end of a command, or of the shell."""
        read = b""
        while read.count(_END.encode()) < 2:
            ready, _, _ = select.select([self._ours], [], [], max(0, end - time.monotonic()))
            if not ready:
                raise TimeoutError(f"`{command}` did not end; it printed {read.decode(errors='replace')!r}")
            try:
                read += os.read(self._ours, 65536)
            except OSError:  # how Linux says that nobody writes to this terminal any more
                break
        return read.decode(errors="replace")
