"""Going back because a person says so: which release to go back to, and what is not to be tried again."""

from collections.abc import Collection, Sequence

from reconciler.core.operators.context import DeploymentSummary
from reconciler.core.operators.requests import MAX_WHY, RefusedRequestError, Request
from reconciler.core.state.ledger import REMOVAL, Record, Rejected
from reconciler.core.state.reason import Reason
from reconciler.core.text.quote import one_line
from reconciler.core.units.names import ReleaseId


def roll_back(record: Record, request: Request, summary: DeploymentSummary) -> tuple[Record, str]:
    """Return the record of a deployment that goes back to an earlier release, and the sentence for the person.

    While a release is being rolled out, that one is given up and the active one stays. The releases that are given up
    are rejected. Only the record changes here: the next pass acts on it. Raises RefusedRequestError, with what to do
    instead.
    """
    # One whose removal waits for a person serves on, so there is something to go back from.
    is_to_be_removed = not summary.selected and not summary.held
    if is_to_be_removed:
        raise RefusedRequestError(f"{request.cannot}: the registry no longer selects it; promote a version instead")
    tried = _tried(record, summary)
    # None where each of the two is missing or rejected: then any release that proved itself will do.
    current = tried[0] if tried else None
    target = _target(record, request, summary, current)
    if target == current:
        already = "is active already" if target == summary.active else "is being rolled out already"
        raise RefusedRequestError(f"{request.cannot}: version {target.version} {already}; see reconciler status")
    # It is not the current one, so it was rejected: it is tried again, and nothing is given up before it works.
    if target == summary.desired:
        forgiven = record.forgive(target)
        # That person named it, which is the yes to it.
        agreed_to = forgiven.confirm(summary.change) if summary.change else forgiven
        return agreed_to, f"version {target.version} of {request.name} is tried again"
    # What was rejected is not tried again by itself, so the registry, which selects it still, does not undo this.
    given_up = [release for release in tried if release != target]
    record = _with_rejections(record.forgive(target), given_up, request, summary)
    # The active release stays what it is: one in its soak has not proved itself because the next one is given up.
    if target != summary.active:
        record = record.mark_proven(target)
    # It serves again by the word of a person, although its removal had begun by that of another.
    if record.confirmed == REMOVAL:
        record = record.confirm(None)
    return record, _sentence(request, summary, target, current, given_up)


def _tried(record: Record, summary: DeploymentSummary) -> list[ReleaseId]:
    """Return the desired release and the active one, in this order, unless they are the same, missing or rejected.

    The first of them is the current one, from which a person wants to go back.
    """
    tried: list[ReleaseId] = []
    for release in (summary.desired, summary.active):
        if release is None or release in tried:
            continue
        is_rejected = record.rejection(release) is not None
        if not is_rejected:
            tried.append(release)
    return tried


def _with_rejections(
    record: Record, given_up: Collection[ReleaseId], request: Request, summary: DeploymentSummary
) -> Record:
    """Reject what is given up in favour of an earlier release, in the name of the person who asked.

    The rejections are in the order of `given_up`, the last of them as the latest.
    """
    reason_given = f": {request.why}" if request.why else ""
    why = one_line(f"rolled back by {request.by}{reason_given}", MAX_WHY)
    for release in given_up:
        asked = summary.asked_of(release)
        rejected = Rejected(release=release, reason=Reason.ROLLED_BACK, message=why, asked=asked)
        record = record.reject(rejected)
    return record


def _target(record: Record, request: Request, summary: DeploymentSummary, current: ReleaseId | None) -> ReleaseId:
    """Choose the release to go back to; raises RefusedRequestError when there is none.

    That is the latest one that proved itself; if the person named a version, the latest one that has it.
    """
    # The ledger remembers releases longer than their files are kept.
    proven = [release for release in record.proven() if release in summary.releases]
    if request.version is None:
        return _latest_proven(request, proven, current)
    # A release in its rollout has not proved itself, and may be named all the same: that gives the rollout up, or is
    # refused with the word that it goes on already.
    unproven = [release for release in (summary.active, summary.desired) if release is not None]
    found = [release for release in (*proven, *unproven) if release.version == request.version]
    if not found:
        raise RefusedRequestError(
            f"{request.cannot}: version {request.version} of {request.name} is not on this host, "
            f"{_what_is_here(proven)}; promote it instead"
        )
    return _other_than(current, found)


def _other_than(current: ReleaseId | None, found: Sequence[ReleaseId]) -> ReleaseId:
    """Choose the first of the releases found that is not the current one; the current one where it is alone.

    One version may be here with several parameters. A person who names the version of the current release wants
    another release of it; where there is none, the caller refuses with the word that this one is what they have.
    """
    for release in found:
        if release != current:
            return release
    return found[0]


def _latest_proven(request: Request, proven: Sequence[ReleaseId], current: ReleaseId | None) -> ReleaseId:
    """Choose the latest release that proved itself, other than the current one.

    `proven` has those whose files are kept, the latest first. Raises RefusedRequestError when there is no other.
    """
    for release in proven:
        if release != current:
            return release
    beside = f" beside {_called(current, None)}" if current else ""
    raise RefusedRequestError(
        f"{request.cannot}: nothing that served before is kept{beside}; promote another version instead"
    )


def _what_is_here(proven: Collection[ReleaseId]) -> str:
    """Say which versions a person can go back to.

    The highest comes first; releases of one version count once.
    """
    versions = sorted({release.version for release in proven}, reverse=True)
    if not versions:
        return "no other is either"
    listed = ", ".join(f"version {version}" for version in versions)
    return f"there is {listed}"


def _sentence(
    request: Request,
    summary: DeploymentSummary,
    target: ReleaseId,
    current: ReleaseId | None,
    given_up: Sequence[ReleaseId],
) -> str:
    """Say which release serves from now on, and which are not tried before somebody asks for that.

    The target is called by what tells it from the current release, and those given up by what tells them from it.
    """
    is_active = target == summary.active
    does = "stays with" if is_active else "goes back to"
    said = f"{request.name} {does} {_called(target, current)}"
    if not given_up:
        return said
    those = " and ".join(_called(release, target) for release in given_up)
    are_several = len(given_up) > 1
    are = "are" if are_several else "is"
    return f"{said}; {those} {are} not tried before reconciler retry {request.name}"


def _called(release: ReleaseId, beside: ReleaseId | None) -> str:
    """Call a release by its version; by its whole name if `beside`, which is spoken of as well, has the same version.

    People think in versions.
    """
    version = release.version
    is_ambiguous = beside is not None and beside != release and beside.version == version
    if is_ambiguous:
        return f"release {release}"
    return f"version {version}"
