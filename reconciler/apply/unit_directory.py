"""What a directory of units holds, in one look: whose files are there, and whether they are as they were."""

import os
from collections.abc import Mapping, Set
from pathlib import Path
from typing import NamedTuple

from reconciler.core.units import names
from reconciler.files.stamps import Stamp, stamp


class Listing(NamedTuple):
    """The entries of a directory that are units of ours by their names, or belong to some."""

    stamps: Mapping[str, Stamp]
    """By unit; of a link, its own."""
    with_drop_ins: Set[str]
    """Units that have a directory for drop-ins."""
    enabled: Set[str]
    """Units that a boot would start."""


def list_units(directory: Path) -> Listing:
    """List a directory; one that is not there is empty. Raises OSError for one that cannot be listed."""
    stamps: dict[str, Stamp] = {}
    with_drop_ins: set[str] = set()
    enabled: set[str] = set()
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                name = entry.name
                if names.is_ours(name):
                    _note_stamp(entry, stamps)
                elif name.endswith(".d") and names.is_ours(name[:-2]):
                    with_drop_ins.add(name[:-2])
                elif name.endswith(".wants") and entry.is_dir():
                    enabled |= _links(entry.path)
    except FileNotFoundError:
        pass
    return Listing(stamps, with_drop_ins, enabled)


def _links(directory: str) -> set[str]:
    """List the units that a directory of links names; one that is gone meanwhile names none."""
    try:
        with os.scandir(directory) as entries:
            return {entry.name for entry in entries if names.is_ours(entry.name)}
    except FileNotFoundError:
        return set()


def _note_stamp(entry: os.DirEntry[str], stamps: dict[str, Stamp]) -> None:
    try:
        stamps[entry.name] = stamp(entry.stat(follow_symlinks=False))
    except FileNotFoundError:
        return  # gone since it was listed
