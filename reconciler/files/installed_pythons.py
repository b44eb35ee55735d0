"""Which minor versions of Python this host has for its models, without running any of them."""

import os
import re
from collections.abc import Iterator, Sequence

from reconciler.core.text.python_versions import can_serve, number

PLACES = ("/usr/local/bin", "/usr/bin")
_PROGRAM = re.compile(r"python(3\.[0-9]{1,2})")


def installed_pythons(places: Sequence[str] = PLACES) -> tuple[str, ...]:
    """List the versions, the oldest first; those that the model server does not run on are left out."""
    names = (name for place in places for name in _programs(place))
    here = {match[1] for match in map(_PROGRAM.fullmatch, names) if match and can_serve(match[1])}
    return tuple(sorted(here, key=number))


def _programs(place: str) -> Iterator[str]:
    try:
        yield from (entry.name for entry in os.scandir(place) if os.access(entry.path, os.X_OK))
    except OSError:
        return
