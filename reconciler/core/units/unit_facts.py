"""What a unit file of ours says in its own section: what it was rendered from, read back as values.

Root alone writes these files, but people edit them. A fact that cannot be what it should be counts as missing, so that
no reader of it has to think of that.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.core.units.logged_example import LoggedExample
from reconciler.core.units.names import ReleaseId

_PORT = re.compile(r"[0-9]{1,5}")
_SIZE = re.compile(r"[1-9][0-9]{0,17}")
_YES = "yes"
_RECREATE = "recreate"
_CACHE_IN_WORDS = "a cache"
"""The words for a cache in `Opened`. Units that were rendered before there was a fact `Cache` have only them."""


@dataclass(frozen=True)
class UnitFacts:
    """The facts of one unit; each kind of unit has some of them."""

    deployment: str = ""
    """The deployment that the unit belongs to; empty for what deployments share."""
    release: ReleaseId | None = None
    """Of a server, the release that it runs; of a socket, the active release."""
    environment: str | None = None
    """The id of the environment that a server runs in, that a build makes, or that is verified."""
    runtime: str | None = None
    source: str | None = None
    """Tells one origin of a version's files from another."""
    asked: str | None = None
    """What of a server's release is not this host's settings."""
    port: int | None = None
    address: str = ""
    done_for: str | None = None
    """Digest of what a step is done for: done for something else, it is done again."""
    check: str | None = None
    """Digest of the host's own check that files were verified with."""
    may_idle: bool = False
    """Whether a server may end when nobody asks it anything."""
    opened: str = ""
    """What of a server's sandbox is open, in words."""
    closed: str = ""
    """What of a server's sandbox is closed that is usually open, in words."""
    has_cache: bool = False
    """Whether a server has a directory that it can write to."""
    temp_size: int | None = None
    """Bytes of the temporary files of a server whose release has what it compiles kept; None of others."""
    recreate: bool = False
    """Whether a server's release is started after the one before it has ended."""
    asks_itself: bool = False
    """Whether a server's container takes requests from a broker by itself."""
    example: LoggedExample | None = None
    """Of a server, whether its files have an example to try it with. None where nobody has looked: that says nothing,
    least of all that there is none."""
    brokers: tuple[str, ...] = ()
    """Of a bridge, where it takes requests from."""
    digest: str = ""
    """Digest of all values that the unit was rendered from."""

    @property
    def keeps_compiled(self) -> bool:
        """Whether what a server's release compiles is kept for its later starts."""
        return self.temp_size is not None

    def write(self) -> dict[str, str]:
        """The lines of the section, as names and values. `read_facts` reads them back as the same facts."""
        # These names are on the disks of installed hosts: they can be added to, but not renamed.
        lines = {
            "Deployment": self.deployment,
            "Release": self.release,
            "Environment": self.environment,
            "Runtime": self.runtime,
            "For": self.done_for,
            "Source": self.source,
            "Asked": self.asked,
            "Check": self.check,
            "Port": None if self.port is None else str(self.port),
            "Address": self.address,
            "Idle": _YES if self.may_idle else None,
            "Opened": self.opened,
            "Closed": self.closed,
            "Cache": _YES if self.has_cache else None,
            "Compiled": None if self.temp_size is None else str(self.temp_size),
            "Strategy": _RECREATE if self.recreate else None,
            "Asks": _YES if self.asks_itself else None,
            "Example": self.example,
            "Brokers": " ".join(self.brokers),
            "Digest": self.digest,
        }
        return {name: value for name, value in lines.items() if value}


NO_FACTS = UnitFacts()


def read_facts(lines: Mapping[str, str]) -> UnitFacts:
    """Read the facts from the lines of a section; names that are not known are passed over."""
    # Nothing here raises an error: every unit is read in every pass, and one that somebody edited must not end it.
    opened = lines.get("Opened", "")
    return UnitFacts(
        deployment=lines.get("Deployment", ""),
        release=ReleaseId.parse(lines.get("Release", "")),
        environment=lines.get("Environment"),
        runtime=lines.get("Runtime"),
        source=lines.get("Source"),
        asked=lines.get("Asked"),
        port=_port(lines.get("Port", "")),
        address=lines.get("Address", ""),
        done_for=lines.get("For"),
        check=lines.get("Check"),
        may_idle=lines.get("Idle") == _YES,
        opened=opened,
        closed=lines.get("Closed", ""),
        # Either of them: a unit keeps the section that it was rendered with, as long as its release exists.
        has_cache=lines.get("Cache") == _YES or _CACHE_IN_WORDS in opened,
        temp_size=_size(lines.get("Compiled", "")),
        recreate=lines.get("Strategy") == _RECREATE,
        asks_itself=lines.get("Asks") == _YES,
        example=_example(lines.get("Example", "")),
        brokers=tuple(lines.get("Brokers", "").split()),
        digest=lines.get("Digest", ""),
    )


def _example(text: str) -> LoggedExample | None:
    """Read what is known of an example; None when it is none of the words for that."""
    words = [example.value for example in LoggedExample]
    return LoggedExample(text) if text in words else None


def _port(text: str) -> int | None:
    """Read a port's number; None when it is none. Whether it is one of this host's range, its readers check."""
    match = _PORT.fullmatch(text)
    return int(match[0]) if match else None


def _size(text: str) -> int | None:
    """Read a number of bytes; None when it is none."""
    match = _SIZE.fullmatch(text)
    return int(match[0]) if match else None
