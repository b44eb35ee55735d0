"""Free TCP ports for hosts that share one machine's network, so that hosts running side by side never collide."""

import fcntl
import os
import socket
from pathlib import Path

FIRST, LAST, BLOCK = 21000, 31000, 100  # below the kernel's ephemeral ports (32768 and up on Linux)


class PortBlock:
    """A hundred consecutive ports of 127.0.0.1, reserved among test hosts by a file lock until `release`."""

    def __init__(self, directory: Path) -> None:
        """Take the first block that nobody has reserved and of which nobody listens on a port."""
        directory.mkdir(parents=True, exist_ok=True)
        for start in range(FIRST, LAST, BLOCK):
            descriptor = os.open(directory / f"{start}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                continue
            if all(_is_free(port) for port in range(start, start + BLOCK)):
                self.start, self._descriptor, self._next = start, descriptor, start + BLOCK - 1
                return
            os.close(descriptor)
        raise RuntimeError(f"cannot find {BLOCK} free ports in {FIRST}-{LAST}: all are taken; end what holds them")

    @property
    def model_range(self) -> tuple[int, int]:
        """First and last port for the `port_range` setting of the host: the lower half of the block."""
        return self.start, self.start + BLOCK // 2 - 1

    def take(self) -> int:
        """One more port from the upper half of the block, never handed out twice."""
        if self._next < self.start + BLOCK // 2:
            raise RuntimeError(f"cannot hand out another port: all {BLOCK // 2} of this host are taken")
        self._next -= 1
        return self._next + 1

    def release(self) -> None:
        """Give the block back."""
        os.close(self._descriptor)


def _is_free(port: int) -> bool:
    """Whether 127.0.0.1:port can be listened on now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
