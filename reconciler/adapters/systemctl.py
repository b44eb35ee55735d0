"""Reads properties of units as anybody may: with `systemctl show`, which needs no library and no rights."""

import subprocess
from collections.abc import Mapping, Sequence

_SECONDS = 10


def show(units: Sequence[str], properties: Sequence[str]) -> dict[str, dict[str, str]]:
    """Read properties of units, by unit; "" for one that a unit does not show. Moments are such as `@1764321123`.

    Nothing where systemd cannot be asked: no systemd, no answer within ten seconds.
    """
    command = ["systemctl", "show", "--timestamp=unix", f"--property={','.join(('Id', *properties))}", "--", *units]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603 - no shell
    except (OSError, subprocess.TimeoutExpired):
        return {}
    blocks = (_pairs(block) for block in done.stdout.split("\n\n"))
    return {block["Id"]: {**dict.fromkeys(properties, ""), **block} for block in blocks if block.get("Id")}


def _pairs(block: str) -> Mapping[str, str]:
    pairs = (line.partition("=") for line in block.splitlines())
    return {name: value for name, _, value in pairs}
