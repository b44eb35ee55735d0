"""What other hosts say of a version, in their tags, and whether it may begin here after that.

Anybody who may write to the registry can write such a tag. At worst it delays a version, or lets one begin that this
host's policy allows anyway.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from reconciler.core.registry.host_tags import OLD, PREFIX, Told, is_to_come, tag_key, told_by
from reconciler.core.registry.reading import RegistryReading, Version
from reconciler.core.registry.tag_words import says_proved
from reconciler.core.state.fleet import MAX_HOST_REPORTS, Fleet, HostReport
from reconciler.core.text.quote import one_line

_MAX_NAME = 200
_MAX_REPORT = 900
_MAX_SAID = 200
"""Characters of what a host says that a message quotes."""


def reports(tags: Mapping[str, str], hosts: Sequence[str]) -> dict[str, str]:
    """Take what these hosts say of a version out of its tags, by host."""
    found = {host: tags.get(tag_key(host), "") for host in hosts}
    return {host: one_line(said, _MAX_REPORT) for host, said in found.items() if said}


def why_not_yet(version: int, said: Mapping[str, str], hosts: Sequence[str], now: datetime) -> str:
    """Say which of `hosts` has not proved a version yet, and what it reports; "" when all have.

    A host has proved a version that serves there, is the wanted one there, and is past its soak. `said`: their tags.
    """
    reasons = (_why_not(host, told_by(said.get(host, "")), now) for host in hosts)
    missing = [reason for reason in reasons if reason]
    if not missing:
        return ""
    return f"version {version} begins here when it serves on {', '.join(hosts)}: {'; '.join(missing)}"


def _why_not(host: str, told: Told, now: datetime) -> str:
    if not told.news:
        return f"{host} does not report it"
    if told.seen is not None and is_to_come(told.seen, now):
        return f"{host} reports a time that is still to come: compare its clock with the one of this host"
    if not told.is_current(now, OLD):
        since = f"since {told.seen:%Y-%m-%d %H:%M} UTC" if told.seen else "in a way that it can be trusted"
        return f"{host} has not reported {since}"
    return "" if says_proved(told.words) else f"{host} says {one_line(told.words, _MAX_SAID)!r}"


def fleet(reading: RegistryReading) -> Fleet:
    """Gather what hosts report of the versions of a reading; what they say is removed from them is left out."""
    found = [
        HostReport(
            name=one_line(version.name, _MAX_NAME),
            version=version.version,
            host=one_line(key.removeprefix(PREFIX), _MAX_NAME),
            words=one_line(told.words, _MAX_REPORT),
            seen=told.seen,
        )
        for version in reading.versions
        for key, told in _told(version)
        if told.news
    ]
    found.sort(key=lambda report: (report.name, -report.version, report.host))
    return Fleet(schema=1, reports=tuple(found[:MAX_HOST_REPORTS]))


def _told(version: Version) -> Iterator[tuple[str, Told]]:
    return ((key, told_by(value)) for key, value in version.tags.items() if key.startswith(PREFIX))
