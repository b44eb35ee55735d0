"""Runs inside a host as the deploy user: overwrites a file the moment that somebody has read it.

Takes the file. It says `waits`, then for each time that the file was closed after reading `overwritten` or why not.
"""

import ctypes
import os
import sys

IN_CLOSE_NOWRITE = 0x10


def main() -> None:
    """Wait and overwrite, until it is ended."""
    libc = ctypes.CDLL(None, use_errno=True)
    events = libc.inotify_init()
    path = sys.argv[1]
    if libc.inotify_add_watch(events, os.fsencode(path), IN_CLOSE_NOWRITE) < 0:
        raise OSError(ctypes.get_errno(), "inotify_add_watch")
    print("waits", flush=True)  # noqa: T201 - what the test reads
    while os.read(events, 4096):
        try:
            with open(path, "r+b") as stream:  # noqa: PTH123 - as early as can be
                stream.write(b"#")
        except OSError as error:
            print(os.strerror(error.errno or 0), flush=True)  # noqa: T201 - what the test reads
        else:
            print("overwritten", flush=True)  # noqa: T201 - what the test reads


if __name__ == "__main__":
    main()
