"""Runs inside a host: looks for secrets in every place where one could have come to lie, and counts where it looked.

Reads {"needles": [...], "below": [...], "but": [...]} from stdin, so that they are in no argument and no environment.
"""

import json
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
    "history": ["reconciler", "history", "--json"],
}


def processes() -> Iterator[Searched]:
    """Arguments and environment of all processes."""
    for process in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                yield f"{process}/{name}", (process / name).read_bytes()
            except OSError:
                continue  # it has ended


def files(below: list[str], but: list[str]) -> Iterator[Searched]:
    """Names and contents of all files."""
    for top in below:
        for path in Path(top).rglob("*"):
            if path.is_symlink() or any(str(path).startswith(prefix) for prefix in but):
                continue
            try:
                content = path.read_bytes() if path.is_file() else b""
            except OSError:
                continue  # it has gone, or is none that anybody could read
            yield str(path), str(path).encode(errors="replace") + b"\n" + content


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
    for each in (processes(), files(asked["below"], asked["but"]), commands()):
        for name, content in each:
            places, size = places + 1, size + len(content)
            found += [name for needle in needles if needle in content]
    print(json.dumps({"found": sorted(set(found)), "places": places, "bytes": size}))  # noqa: T201 - what the test reads


main()
