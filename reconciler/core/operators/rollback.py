"""Going back because a person says so: which release to go back to, and what is not to be tried again."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from reconciler.core.state.ledger import Record, Rejected
from reconciler.core.state.reason import Reason
from reconciler.core.units.names import ReleaseId


@dataclass(frozen=True)
class DeploymentSummary:
    """Where one deployment stands when something is asked of it."""

    releases: Collection[ReleaseId] = ()
    """Those that are on this host: they have a server unit."""
    active: ReleaseId | None = None
    desired: ReleaseId | None = None
    """The release that the registry wants; None when it wants none, or one that this host refuses."""
    desired_asked: str = ""
    """What of that one is not this host's settings."""
    selected: bool = True
    """Whether the registry selects it at all."""
    held: bool = False
    """Whether its removal waits for a person."""
    waits: bool = False
    """Whether its replacement does, because it comes from another source than what serves."""
    asked: Mapping[str, str] = field(default_factory=dict)
    """What of each release on this host is not this host's settings."""
    taken: str | None = None
    """Number and source of the wanted version, where what serves here has the number from another source."""


class NothingToGoBackToError(Exception):
    """There is no such release; the message says why, and what to do."""


def roll_back(
    record: Record, name: str, summary: DeploymentSummary, version: int | None, why: str
) -> tuple[Record, str]:
    """Have an earlier release serve, and keep the registry from undoing that. Raises NothingToGoBackToError.

    While a release is being rolled out, that one is taken back and what it was to replace stays.
    """
    if not summary.selected and not summary.held:
        raise NothingToGoBackToError("the registry no longer selects it; promote a version instead")
    active, desired = summary.active, summary.desired
    tried = [one for one in (desired, active) if one and not record.rejection(one)]
    current = tried[0] if tried else None
    target = _target(record, name, summary, version, current)
    if target == current:
        already = "is active already" if target == active else "is being rolled out already"
        raise NothingToGoBackToError(f"version {target.version} {already}; see reconciler status")
    if target == desired:
        return record.forgive(target), f"{_called(target, None)} of {name} is tried again"
    record = record.forgive(target)
    left = [one for one in dict.fromkeys(tried) if one != target]
    for release in left:
        asked = summary.asked.get(release) or (summary.desired_asked if release == desired else "")
        record = record.reject(Rejected(release=release, reason=Reason.ROLLED_BACK, message=why, asked=asked))
    if target != active:
        record = record.accept(target)
    said = f"{name} {'stays with' if target == active else 'goes back to'} {_called(target, current)}"
    if not left:
        return record, said
    which = f"{' and '.join(_called(one, target) for one in left)} {'are' if len(left) > 1 else 'is'}"
    return record, f"{said}; {which} not tried before reconciler retry {name}"


def _target(
    record: Record, name: str, summary: DeploymentSummary, version: int | None, current: ReleaseId | None
) -> ReleaseId:
    """Choose the latest release that proved itself, or that has the version, other than the current one."""
    proven = [one for one in (record.good, *record.before) if one and one in summary.releases]
    if version is None:
        others = [one for one in proven if one != current]
        if not others:
            beside = f" beside {_called(current, None)}" if current else ""
            raise NothingToGoBackToError(f"nothing that served before is kept{beside}; promote another version instead")
        return others[0]
    kept = dict.fromkeys([*proven, *(one for one in (summary.active, summary.desired) if one)])
    found = [one for one in kept if one.version == version]
    if not found:
        here = sorted({one.version for one in proven}, reverse=True)
        there = f"there is {', '.join(f'version {one}' for one in here)}" if here else "no other is either"
        raise NothingToGoBackToError(f"version {version} of {name} is not on this host, {there}; promote it instead")
    return next((one for one in found if one != current), found[0])


def _called(release: ReleaseId, beside: ReleaseId | None) -> str:
    """Call a release by its version, unless another with the same version is spoken of."""
    version = release.version
    if beside and beside != release and beside.version == version:
        return f"release {release}"
    return f"version {version}"
