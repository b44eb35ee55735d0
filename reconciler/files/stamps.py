"""Tells one state of a file from another without reading it."""

import os

Stamp = tuple[int, int, int, int]
"""Mode, inode, size, and time of the last change of any of them or of the content."""

SETTLED_AFTER = 100_000_000
"""Nanoseconds. Two changes within one tick of the kernel's clock, some milliseconds, have one time stamp."""


def stamp(about: os.stat_result) -> Stamp:
    """Make the stamp of a file; every change of its content, mode or owner makes another one, once it `is_settled`."""
    return about.st_mode, about.st_ino, about.st_size, about.st_ctime_ns


def is_settled(one: Stamp, now: int) -> bool:
    """Whether a later change of the file will show in its stamp; `now`: nanoseconds since the epoch, before reading.

    A file that seems to be changed in the future is not: somebody put the clock back, which may happen again.
    """
    changed = one[3]
    return now - changed > SETTLED_AFTER
