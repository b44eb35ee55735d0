"""What is done for one deployment in a cluster, and how it stands.

Kubernetes itself brings the servers of a release up, one after the other, and waits until each has been ready for the
soak. What it does not decide is decided here: that a release which does not get there in time is rejected and the good
one is applied again, what is prepared and kept, and what is removed.
"""

from reconciler.core.cluster import labels
from reconciler.core.cluster.view import ClusterDeployment
from reconciler.core.planner import ledger_updates as note
from reconciler.core.planner.guard import Wait
from reconciler.core.planner.host_settings import CHANGED
from reconciler.core.state.reason import DOING, FAILED, Reason
from reconciler.core.state.release import Refused, Release
from reconciler.core.state.status import Outlook, State
from reconciler.core.units.logged_example import LoggedExample
from reconciler.core.units.names import ReleaseId, Step

_SERVES = ("Deployment", "Service", "NetworkPolicy", "PodDisruptionBudget", "Job")
"""What is removed at once with a deployment; claims and ConfigMaps stay for the time of grace."""
_WORDS = {
    Step.FETCH: "its files are downloaded",
    Step.BUILD: "its environment is built",
    Step.VERIFY: "its files are compared with their digests",
}


def decide(one: ClusterDeployment, desired: Release | Refused | None, wait: Wait | None) -> Outlook:
    """Plan one deployment and return its status. `wait`: for whom it has to wait; None when it need not."""
    suspended = one.record.suspended
    version = desired.version if desired is not None else None
    if suspended is not None:
        return one.outlook(State.SUSPENDED, version, Reason.SUSPENDED, suspended.sentence)
    if wait is not None:
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
        _go_back(one)
        return one.blocked(release.version, Reason(rejected.reason), rejected.message)
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
    if why_not_yet and one.seen.release != release.id:
        _stay(one)
        return one.outlook(State.PENDING, release.version, Reason.OTHER_HOSTS_FIRST, why_not_yet)
    report = one.seen.reports.get(labels.files_key(release))
    if report is None or not one.has_files(release):
        return _prepare(one, release)
    if one.inputs.require_example and report.example is not None and not report.example.is_proof:
        return _reject(one, release, Reason.NO_EXAMPLE, _without_example(release, report.example))
    one.serve(release, report)
    outlook = _stand(one, release, release.id)
    _tidy(one, release)
    return outlook


def _prepare(one: ClusterDeployment, release: Release) -> Outlook:
    """Have the files fetched and built; what serves goes on meanwhile."""
    _stay(one)
    key = labels.files_key(release)
    name = labels.files_name(one.name, key)
    job = one.seen.preparations.get(key)
    if job is not None and not one.has_files(release):
        # Somebody removed the volume. What was done for it is forgotten, and then done again.
        one.delete([job.object.unit, f"ConfigMap/{name}"])
        return one.outlook(State.PREPARING, release.version, Reason.FETCHING, "its volume is gone; it is made again")
    if job is None:
        failed = one.inputs.retry_later.get(name)
        if failed is not None:
            return one.blocked(release.version, Reason.FETCH_FAILED, failed)
        one.prepare(release)
        return one.outlook(State.PREPARING, release.version, Reason.FETCHING, _WORDS[Step.FETCH])
    if job.has_failed:
        # Another Job is made when it is gone; until its turn comes it is left for people to look at.
        if name not in one.inputs.retry_later:
            one.delete([job.object.unit])
        return one.blocked(release.version, FAILED[job.step], job.why)
    if not job.is_done:
        return one.outlook(State.PREPARING, release.version, DOING[job.step], job.words or _WORDS[job.step])
    report = job.report
    if report is None:
        # Its pod is gone, and with it what it said. What it did is still there, so that doing it again is quick.
        one.delete([job.object.unit])
        return one.outlook(State.PREPARING, release.version, Reason.VERIFYING, "its report is lost; it is done again")
    one.keep_report(release, report)
    return one.outlook(State.PREPARING, release.version, Reason.VERIFYING, _WORDS[Step.VERIFY])


def _stand(one: ClusterDeployment, release: Release, applied: ReleaseId) -> Outlook:
    """Say how the release stands that was applied, and take note of what is known of it from now on."""
    seen, wanted = one.seen, release.rollout.replicas
    if seen.release != applied:
        return one.outlook(State.ROLLING_OUT, release.version, Reason.STARTING, "its servers start")
    is_good = one.record.good == applied
    if seen.is_complete:
        if not is_good:
            one.actions.append(note.MarkProven(one.name, f"Deployment/{labels.object_name(one.name)}", applied))
        return one.outlook(State.SERVING, release.version, *_why_this_one(release))
    why = seen.why_in_vain
    if is_good:
        # It was whole before: the cluster itself replaces what it has lost.
        sentence = why or seen.why_not_ready or f"{seen.ready(applied)} of {wanted} servers are ready"
        return one.blocked(release.version, Reason.START_FAILED, sentence)
    if why or seen.is_past_its_deadline:
        late = seen.why_not_ready or "its servers were not ready in time"
        return _reject(one, release, Reason.START_FAILED, why or late)
    ready = seen.ready(applied)
    if ready < wanted:
        progress = seen.why_not_ready or f"{ready} of {wanted} servers are ready"
        return one.outlook(State.ROLLING_OUT, release.version, Reason.STARTING, progress)
    watched = f"its servers are ready, and are watched for {release.rollout.soak} s"
    return one.outlook(State.ROLLING_OUT, release.version, Reason.SOAKING, watched)


def _reject(one: ClusterDeployment, release: Release, reason: Reason, why: str) -> Outlook:
    """Take note that a release failed. The next pass goes back to the good one."""
    message = f"version {release.version} was not taken: {why}"
    unit = f"Deployment/{labels.object_name(one.name)}"
    one.actions[:] = [note.Reject(one.name, unit, release.id, reason, message[:2000], release.asked)]
    return one.blocked(release.version, reason, message)


def _go_back(one: ClusterDeployment) -> None:
    """Have the good release serve; where there is none, nothing."""
    good = one.record.good
    if good is not None and one.serve_kept(good):
        _tidy(one, None)
        return
    # It would be started again and again for nothing.
    one.delete([f"Deployment/{labels.object_name(one.name)}"])


def _stay(one: ClusterDeployment) -> None:
    """Have what serves go on as it is, and undo what somebody changed of it."""
    asked = one.seen.release
    target = one.record.good or asked
    if target is not None and asked is not None:
        one.serve_kept(target)


def _remove(one: ClusterDeployment) -> Outlook:
    """Remove a deployment that the registry no longer selects: its servers at once, its files after a while."""
    units = one.seen.objects.values()
    serves = [found.unit for found in units if found.kind in _SERVES]
    one.delete(serves)
    since = one.inputs.unselected.get(one.name, one.inputs.now)
    is_over = one.inputs.now >= since + one.inputs.retention.removal_grace
    if is_over:
        one.delete(found.unit for found in units)
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
    needed = [one.seen.release, record.good, *before[: one.inputs.retention.releases], wanted.id if wanted else None]
    ids = {release for release in needed if release is not None}
    keys = {str(one.seen.kept[release].get("files_key")) for release in ids if release in one.seen.kept}
    keys |= {labels.files_key(wanted)} if wanted else set()
    unneeded = []
    for found in one.seen.objects.values():
        release, key = found.metadata.labels.get(labels.RELEASE), found.metadata.labels.get(labels.FILES)
        is_values = found.kind == "ConfigMap" and release is not None
        if (is_values and ReleaseId.parse(release) not in ids) or (not is_values and key and key not in keys):
            unneeded.append(found.unit)
    one.delete(unneeded)


def _why_this_one(release: Release) -> tuple[Reason, str]:
    if not release.also_matching:
        return Reason.NONE, ""
    others = ", ".join(map(str, release.also_matching))
    return Reason.SEVERAL_SELECTED, f"the selector matches version {others}, too"


def _without_example(release: Release, example: LoggedExample) -> str:
    return f"version {release.version} has no example that its server can replay ({example}), and one is required here"
