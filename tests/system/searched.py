"""Runs inside a host: looks for secrets in every place where one could have come to lie, and counts where it looked.

Reads {"needles": [...], "below": [...], "but": [...], "since": seconds} from stdin, so that they are in no argument and
no environment. Files that have not changed since before the secrets were made cannot hold one.
"""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

Searched = tuple[str, bytes]
COMMANDS = {
    "journal": ["journalctl", "--output=export", "--all", "--no-pager"],
    "properties of units": ["systemctl", "show", "--all", "--no-pager", "*"],
    "text of units": ["systemctl", "cat", "--no-pager", "model*", "mlflow*"],
    "status": ["reconciler", "status", "--json"],
    "audit log": ["reconciler", "history", "--export"],
}


def processes() -> Iterator[Searched]:
    """Arguments and environment of all processes."""
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                yield f"{process}/{name}", (process / name).read_bytes()
            except OSError:
                continue  # it has ended


def files(below: list[str], but: list[str], since: float) -> Iterator[Searched]:
    """Names and contents of all files."""
    for top in below:
        for directory, _, names in os.walk(top):
            if any(directory.startswith(prefix) for prefix in but):
                continue
            for name in names:
                path = f"{directory}/{name}"
                try:
                    about = os.lstat(path)
                    if not stat.S_ISREG(about.st_mode) or about.st_ctime < since:
                        continue
                    content = Path(path).read_bytes()
                except OSError:
                    continue  # it has gone, or is none that anybody could read
                yield path, path.encode(errors="replace") + b"\n" + content


def commands() -> Iterator[Searched]:
    """What systemd and the product say."""
    for name, command in COMMANDS.items():
        yield name, subprocess.run(command, capture_output=True, check=False).stdout


def main() -> None:
    """Search everything."""
    asked = json.load(sys.stdin)
    needles = [needle.encode() for needle in asked["needles"]]
    found: list[str] = []
    places = size = 0
    for each in (processes(), files(asked["below"], asked["but"], asked["since"]), commands()):
        for name, content in each:
            places, size = places + 1, size + len(content)
            found += [name for needle in needles if needle in content]
    print(json.dumps({"found": sorted(set(found)), "places": places, "bytes": size}))  # noqa: T201 - what the test reads


main()
