"""What is done for one deployment in a cluster, and how it stands.

Kubernetes itself brings the servers of a release up, one after the other, and waits until each has been ready for the
soak. What it does not decide is decided here: that a release which does not get there in time is rejected and the good
one is applied again, what is prepared and kept, and what is removed.
"""

from reconciler.core.cluster import labels
from reconciler.core.cluster.objects import Object
from reconciler.core.cluster.preparing import prepare
from reconciler.core.cluster.view import ClusterDeployment
from reconciler.core.planner import ledger_updates as note
from reconciler.core.planner.guard import Wait
from reconciler.core.planner.host_settings import CHANGED
from reconciler.core.state.reason import Reason
from reconciler.core.state.release import Refused, Release
from reconciler.core.state.status import Outlook, State
from reconciler.core.units.logged_example import LoggedExample
from reconciler.core.units.names import ReleaseId

_SERVES = ("Deployment", "Service", "PodDisruptionBudget", "Job")
"""What is removed at once with a deployment; volumes, and what is known of them, stay for the time of grace."""


def decide(one: ClusterDeployment, desired: Release | Refused | None, wait: Wait | None) -> Outlook:
    """Plan one deployment and return its status. `wait`: for whom it has to wait; None when it need not."""
    suspended = one.record.suspended
    version = desired.version if desired is not None else None
    if suspended is not None:
        return one.outlook(State.SUSPENDED, version, Reason.SUSPENDED, suspended.sentence)
    if one.just_proved is not None:
        # Whatever is wanted by now: without it, nobody could go back to what serves.
        one.actions.append(note.MarkProven(one.name, _workload(one), one.just_proved))
    if wait is not None:
        # Nobody has taken it out of service.
        _stay(one)
        return one.outlook(wait.state, version, wait.reason, wait.why)
    match desired:
        case None:
            return _remove(one)
        case Refused():
            return _refuse(one, desired)
        case Release():
            return _bring_up(one, desired)


def _refuse(one: ClusterDeployment, refused: Refused) -> Outlook:
    if refused.reason is Reason.NOT_ALLOWED and not one.seen.objects:
        return one.outlook(State.NOT_DEPLOYABLE, refused.version, refused.reason, refused.why)
    _stay(one)
    return one.blocked(refused.version, refused.reason, refused.why)


def _bring_up(one: ClusterDeployment, release: Release) -> Outlook:
    another_serves = one.serving not in (None, release.id)
    rejected = one.record.rejection(release.id)
    if rejected is None and another_serves:
        rejected = one.record.rejection_of(release.version, release.asked)
    if rejected is not None:
        return one.blocked(release.version, Reason(rejected.reason), rejected.message + _go_back(one))
    former = one.former_settings(release)
    if former is not None:
        one.serve_kept(former, release.rollout)
        outlook = _stand(one, release, former)
        _tidy(one, None)
        if outlook.state is State.SERVING and not outlook.reason:
            changed = {"reason": Reason.SETTINGS_CHANGED, "message": CHANGED.format(name=one.name)}
            return outlook.model_copy(update=changed)
        return outlook
    why_not_yet = one.inputs.not_yet.get(one.name)
    has_begun = one.seen.release == release.id or one.record.has_proven(release.version)
    if why_not_yet and not has_begun:
        _stay(one)
        return one.outlook(State.PENDING, release.version, Reason.OTHER_HOSTS_FIRST, why_not_yet)
    report = one.seen.reports.get(labels.files_key(release))
    if report is None or one.volume(release) is None:
        _stay(one)
        return prepare(one, release)
    one.pin(release, report)
    if one.inputs.require_example and report.example is not None and not report.example.is_proof:
        return _reject(one, release, Reason.NO_EXAMPLE, _without_example(release, report.example))
    one.serve(release, report)
    outlook = _stand(one, release, release.id)
    _tidy(one, release)
    return outlook


def _stand(one: ClusterDeployment, release: Release, applied: ReleaseId) -> Outlook:
    """Say how the release stands that was applied, and take note of what is known of it from now on."""
    seen, wanted = one.seen, release.rollout.replicas
    if seen.release != applied:
        return one.outlook(State.ROLLING_OUT, release.version, Reason.STARTING, "its servers start")
    ready = seen.ready(applied)
    progress = f"{ready} of {wanted} servers are ready"
    if one.good == applied:
        if seen.is_complete and ready >= wanted:
            return one.outlook(State.SERVING, release.version, *_why_this_one(release))
        # It was complete before: the cluster itself makes more servers, or others for those that it has lost.
        why = seen.why_in_vain or seen.why_not_ready
        if ready and not why:
            return one.outlook(State.ROLLING_OUT, release.version, Reason.STARTING, progress)
        return one.blocked(release.version, Reason.START_FAILED, why or progress)
    why = seen.why_in_vain
    if why or seen.is_past_its_deadline:
        late = seen.why_not_ready or "its servers were not ready in time"
        return _reject(one, release, Reason.START_FAILED, why or late)
    if ready < wanted:
        return one.outlook(State.ROLLING_OUT, release.version, Reason.STARTING, seen.why_not_ready or progress)
    watched = f"its servers are ready, and are watched for {release.rollout.soak} s"
    return one.outlook(State.ROLLING_OUT, release.version, Reason.SOAKING, watched)


def _reject(one: ClusterDeployment, release: Release, reason: Reason, why: str) -> Outlook:
    """Take note that a release failed. The next pass goes back to the good one."""
    message = f"version {release.version} was not taken: {why}"
    one.actions[:] = [note.Reject(one.name, _workload(one), release.id, reason, message[:2000], release.asked)]
    return one.blocked(release.version, reason, message)


def _go_back(one: ClusterDeployment) -> str:
    """Have serve what is left without the release that was rejected, and say what is wrong with that, if anything is.

    The good release, or else one that answers now: it never proved itself, but did not fail either.
    """
    asked, record = one.seen.release, one.record
    answers = [release for release, _ in one.seen.answering.most_common() if record.rejection(release) is None]
    target = next((release for release in (one.good, *answers) if release and one.serve_kept(release)), None)
    if target is None:
        # What nobody rejected goes on, though nobody knows any more what it was rendered from.
        if asked is not None and record.rejection(asked) is not None:
            # It would be started again and again for nothing.
            one.delete([_workload(one)])
        return ""
    _tidy(one, None)
    if asked != target or one.seen.ready(target):
        return ""
    why = one.seen.why_in_vain or one.seen.why_not_ready
    return f"; version {target.version} does not get ready either: {why}" if why else ""


def _stay(one: ClusterDeployment) -> None:
    """Have what serves go on as it is, and undo what somebody changed of it or removed."""
    target = one.good or one.seen.release
    if target is not None:
        one.serve_kept(target)  # of one that was taken out of service, nothing is kept


def _remove(one: ClusterDeployment) -> Outlook:
    """Remove a deployment that the registry no longer selects: its servers at once, its files after a while.

    What its releases were rendered from goes with the servers. As long as it is there, nobody has begun to remove it.
    """
    found = one.seen.objects.values()
    # Pods take a while to end, and are held to their policy until then.
    fences = {each.unit for each in found if each.kind == "NetworkPolicy"}
    serves = {each.unit for each in found if each.kind in _SERVES or _keeps_values(each)}
    since = one.inputs.unselected.get(one.name, one.inputs.now)
    is_over = one.inputs.now >= since + one.inputs.retention.removal_grace
    goes = {each.unit for each in found} - fences if is_over else serves
    one.delete(goes if one.seen.pods else goes | fences)
    if not one.seen.objects and not one.seen.pods:
        one.actions.append(note.ForgetDeployment(one.name, ""))
    if serves or is_over:
        return one.outlook(State.REMOVING, None, Reason.NOT_SELECTED)
    kept = f"its files are kept for {one.inputs.retention.removal_grace:.0f} s"
    return one.outlook(State.REMOVING, None, Reason.KEPT_FOR_A_WHILE, kept)


def _tidy(one: ClusterDeployment, wanted: Release | None) -> None:
    """Remove the files and the values of releases that nobody will go back to."""
    record = one.record
    before = [release for release in record.before if release in one.seen.kept]
    needed = [one.seen.release, one.good, record.good, *before[: one.inputs.retention.releases]]
    ids = {release for release in (*needed, *one.seen.answering, wanted.id if wanted else None) if release is not None}
    keys = {str(one.seen.kept[release].get("files_key")) for release in ids if release in one.seen.kept}
    keys |= {labels.files_key(wanted)} if wanted else set()
    unneeded = []
    for found in one.seen.objects.values():
        release, key = found.metadata.labels.get(labels.RELEASE), found.metadata.labels.get(labels.FILES)
        is_values = _keeps_values(found)
        if (is_values and ReleaseId.parse(release) not in ids) or (not is_values and key and key not in keys):
            unneeded.append(found.unit)
    one.delete(unneeded)


def _keeps_values(found: Object) -> bool:
    return found.kind == "ConfigMap" and labels.RELEASE in found.metadata.labels


def _workload(one: ClusterDeployment) -> str:
    return f"Deployment/{labels.object_name(one.name)}"


def _why_this_one(release: Release) -> tuple[Reason, str]:
    if not release.also_matching:
        return Reason.NONE, ""
    others = ", ".join(map(str, release.also_matching))
    return Reason.SEVERAL_SELECTED, f"the selector matches version {others}, too"


def _without_example(release: Release, example: LoggedExample) -> str:
    return f"version {release.version} has no example that its server can replay ({example}), and one is required here"
