"""What is done in a cluster so that a release has its files: a Job that fetches, builds and verifies them."""

from reconciler.core.cluster import labels
from reconciler.core.cluster.observed import Preparation
from reconciler.core.cluster.view import ClusterDeployment
from reconciler.core.state.reason import DOING, FAILED, Reason
from reconciler.core.state.release import Release
from reconciler.core.state.status import Outlook, State
from reconciler.core.units.names import Step

_WORDS = {
    Step.FETCH: "its files are downloaded",
    Step.BUILD: "its environment is built",
    Step.VERIFY: "its files are compared with their digests",
}


def prepare(one: ClusterDeployment, release: Release) -> Outlook:
    """Have the files of a release fetched, its environment built, and both verified, and say how far that is."""
    name, volume = one.files_name(release), one.volume(release)
    job = one.seen.preparations.get(labels.files_key(release))
    if job is not None and volume is None:
        # Somebody removed the volume. What was done for it is forgotten, and then done again.
        one.delete([job.object.unit, f"ConfigMap/{name}"])
        return one.outlook(State.PREPARING, release.version, Reason.FETCHING, "its volume is gone; it is made again")
    if volume is not None and volume.is_going:
        return one.outlook(State.PREPARING, release.version, Reason.FETCHING, "its volume goes; then it is made again")
    if job is None:
        failed = one.inputs.retry_later.get(name)
        if failed is not None:
            return one.blocked(release.version, Reason.FETCH_FAILED, failed)
        one.prepare(release)
        return one.outlook(State.PREPARING, release.version, Reason.FETCHING, _WORDS[Step.FETCH])
    # Somebody may have mended what keeps it from its end, such as the class or the size of its volume, or the image.
    outdated = one.outdated(release)
    if job.has_failed:
        # Another Job is made when it is gone; until its turn comes it is left for people to look at.
        if name not in one.inputs.retry_later:
            one.delete({job.object.unit, *outdated})
        return one.blocked(release.version, FAILED[job.step], job.why)
    if not job.is_done:
        if not job.has_begun:
            one.delete(outdated)
        return one.outlook(State.PREPARING, release.version, DOING[job.step], _progress(job))
    report = job.report
    if report is None:
        # Its pod is gone, and with it what it said. What it did is still there, so that doing it again is quick.
        one.delete([job.object.unit])
        return one.outlook(State.PREPARING, release.version, Reason.VERIFYING, "its report is lost; it is done again")
    one.keep_report(release, report)
    return one.outlook(State.PREPARING, release.version, Reason.VERIFYING, _WORDS[Step.VERIFY])


def _progress(job: Preparation) -> str:
    """Say what a Job does, or what keeps it from it."""
    if job.words:
        return job.words
    return _WORDS[job.step] if job.pods else f"no pod was made for it yet; see kubectl describe {job.object.unit}"
