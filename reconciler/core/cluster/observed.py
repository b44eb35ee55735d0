"""What the namespace shows, as values: the objects of each deployment at one moment."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from pydantic import BaseModel, ConfigDict, ValidationError

from reconciler.core.cluster import labels
from reconciler.core.cluster.objects import ContainerStatus, Object
from reconciler.core.units import status_lines
from reconciler.core.units.logged_example import LoggedExample
from reconciler.core.units.names import HOST_ENVIRONMENT, ReleaseId, Step

ENOUGH_RESTARTS = 3
"""Ends of a server that never got ready after which its release has failed, as on a host."""
EX_CONFIG = 78
"""With it our server says that the model cannot be served as it is, however often it is tried."""
_STEPS = (Step.FETCH, Step.BUILD, Step.VERIFY)
_NO_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError")


class Report(BaseModel):
    """What the steps found out, kept in a ConfigMap: the pods that said it are gone one day."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    files: str
    """SHA-256 over all files of the version."""
    environment: str
    """The id of the environment, or `host`."""
    content: str = ""
    """SHA-256 over all files of the environment; empty for `host`."""
    example: LoggedExample | None = None


@dataclass(frozen=True)
class Preparation:
    """The Job that fetches, builds and verifies one set of files."""

    object: Object
    pods: Sequence[Object] = ()

    @property
    def is_done(self) -> bool:
        """Whether all its steps ended well."""
        return self.object.status.condition("Complete").status == "True"

    @property
    def has_failed(self) -> bool:
        """Whether it has ended, and not well."""
        return self.object.status.condition("Failed").status == "True"

    @property
    def has_begun(self) -> bool:
        """Whether one of its steps has run or runs: then its volume may have something on it."""
        return any(not status.state.waiting for pod in self.pods for status in pod.status.containers)

    @property
    def step(self) -> Step:
        """The step that runs, or that failed."""
        for step in _STEPS:
            status = self._container(step)
            ended = status.state.terminated if status else None
            if ended is None or ended.exit_code != 0:
                return step
        return Step.VERIFY

    @property
    def words(self) -> str:
        """What the step that failed said, or what keeps it from beginning; empty where nobody knows."""
        status = self._container(self.step)
        if status is None:
            return next(filter(None, map(_why_no_node, self.pods)), "")
        if status.state.terminated:
            return _last_line(status.state.terminated.message)
        waits = status.state.waiting
        return f"{waits.reason}: {waits.message}" if waits and waits.reason in _NO_IMAGE else ""

    @property
    def why(self) -> str:
        """Why it failed, in a sentence."""
        of_job = self.object.status.condition("Failed")
        why = of_job.message or of_job.reason or "nobody knows why"
        return self.words or f"cannot {self.step}: {why}; see kubectl describe {self.object.unit}"

    @property
    def report(self) -> Report | None:
        """What the steps reported; None while they are not done, or where their pod is gone."""
        fetched, built = self._said(Step.FETCH), self._said(Step.BUILD)
        files, environment = status_lines.read_files(fetched), status_lines.read_environment(fetched)
        if not self.is_done or files is None or environment is None:
            return None
        content = "" if environment == HOST_ENVIRONMENT else status_lines.read_built(built)
        if content is None:
            return None
        return Report(files=files, environment=environment, content=content, example=status_lines.read_example(fetched))

    def _said(self, step: Step) -> str:
        status = self._container(step)
        return _last_line(status.state.terminated.message) if status and status.state.terminated else ""

    def _container(self, step: Step) -> ContainerStatus | None:
        found = [status for pod in self.pods for status in pod.status.containers if status.name == step]
        return found[-1] if found else None


@dataclass(frozen=True)
class DeploymentObjects:
    """The objects of one deployment."""

    name: str
    objects: Mapping[str, Object] = field(default_factory=dict)
    """By kind and name; pods are not among them."""
    pods: Sequence[Object] = ()

    @property
    def workload(self) -> Object | None:
        """Its Deployment, unless that is being removed."""
        found = self.objects.get(f"Deployment/{labels.object_name(self.name)}")
        return None if found is None or found.is_going else found

    @property
    def release(self) -> ReleaseId | None:
        """The release that its Deployment asks for."""
        return ReleaseId.parse(self.workload.metadata.labels.get(labels.RELEASE)) if self.workload else None

    @property
    def is_complete(self) -> bool:
        """Whether all servers are those of the release, have been ready for the whole soak, and no other is left.

        Nothing is complete that somebody scaled to no server.
        """
        one = self.workload
        if one is None or not one.is_up_to_date or one.spec.replicas < 1:
            return False
        wanted, status = one.spec.replicas, one.status
        return status.updated_replicas == status.available_replicas == status.replicas == wanted

    @property
    def is_past_its_deadline(self) -> bool:
        """Whether the cluster says that the servers of the release did not get ready in time."""
        one = self.workload
        if one is None or not one.is_up_to_date:
            return False
        return one.status.condition("Progressing").reason == "ProgressDeadlineExceeded"

    @property
    def why_in_vain(self) -> str:
        """Why the release's servers cannot be expected to get ready; empty as long as they may."""
        for pod in self._servers(self.release):
            for status in pod.status.containers:
                ended = status.state.terminated or status.last_state.terminated
                is_final = ended is not None and ended.exit_code == EX_CONFIG
                if not status.ready and (is_final or status.restart_count >= ENOUGH_RESTARTS):
                    return _why_it_ended(pod, status)
        return ""

    @property
    def why_not_ready(self) -> str:
        """What keeps a server of the release from being ready; empty where nothing is to be seen."""
        for pod in self._servers(self.release):
            for status in pod.status.containers:
                waits, ended = status.state.waiting, status.last_state.terminated or status.state.terminated
                if waits and waits.reason in _NO_IMAGE:
                    return f"cannot start: {waits.reason}: {waits.message}"
                if ended and ended.exit_code != 0:
                    return _why_it_ended(pod, status)
            if why := _why_no_node(pod):
                return why
        refused = self.workload.status.condition("ReplicaFailure") if self.workload else None
        return f"cannot start: {refused.message}" if refused and refused.status == "True" else ""

    @property
    def restarts(self) -> int:
        """How often one server of the release was started again; the most of all."""
        return max(
            (status.restart_count for pod in self._servers(self.release) for status in pod.status.containers), default=0
        )

    def ready(self, release: ReleaseId) -> int:
        """Count the servers of a release that answer."""
        return self.answering[release]

    @cached_property
    def answering(self) -> Counter[ReleaseId]:
        """How many servers answer, by release; none of a release that is not among them."""
        found = Counter[ReleaseId]()
        for pod in self._servers(None):
            release = ReleaseId.parse(pod.metadata.labels.get(labels.RELEASE))
            if release is not None and pod.status.condition("Ready").status == "True":
                found[release] += 1
        return found

    @cached_property
    def preparations(self) -> Mapping[str, Preparation]:
        """The Jobs by the key of their files, without those that are being removed."""
        found = {}
        for one in self.objects.values():
            key = one.metadata.labels.get(labels.FILES)
            if one.kind == "Job" and key and not one.is_going:
                pods = [pod for pod in self.pods if pod.metadata.labels.get("job-name") == one.metadata.name]
                found[key] = Preparation(one, pods)
        return found

    @cached_property
    def reports(self) -> Mapping[str, Report]:
        """What was found out of each set of files, by its key."""
        found = {}
        for one in self.objects.values():
            key = one.metadata.labels.get(labels.FILES)
            if one.kind == "ConfigMap" and key and "report" in one.data and not one.is_going:
                try:
                    found[key] = Report.model_validate_json(one.data["report"])
                except ValidationError:
                    continue  # somebody edited it: as if it were not there, so that it is made again
        return found

    @cached_property
    def kept(self) -> Mapping[ReleaseId, Mapping[str, object]]:
        """What each release was rendered from, of those that may be gone back to."""
        found = {}
        for one in self.objects.values():
            release = ReleaseId.parse(one.metadata.labels.get(labels.RELEASE))
            if one.kind != "ConfigMap" or release is None or "values" not in one.data or one.is_going:
                continue
            try:
                values = json.loads(one.data["values"])
            except ValueError:
                continue  # the same
            if isinstance(values, dict):
                found[release] = values
        return found

    def _servers(self, release: ReleaseId | None) -> list[Object]:
        """List the pods of a release's servers, without those that end; of all releases for None."""
        return [
            pod
            for pod in self.pods
            if pod.metadata.labels.get(labels.PART) == "server"
            and not pod.is_going
            and release in (None, pod.metadata.labels.get(labels.RELEASE))
        ]


@dataclass(frozen=True)
class ClusterObserved:
    """Everything of ours in the namespace."""

    deployments: Mapping[str, DeploymentObjects] = field(default_factory=dict)

    def of(self, name: str) -> DeploymentObjects:
        """Return the objects of a deployment; none of one that has none."""
        return self.deployments.get(name, DeploymentObjects(name))


def observed(manifests: Sequence[Mapping[str, object]]) -> ClusterObserved:
    """Sort what the namespace shows by deployment. What has no label of a deployment of ours is passed over."""
    objects: dict[str, dict[str, Object]] = {}
    pods: dict[str, list[Object]] = {}
    for manifest in manifests:
        name = labels.labels_of(manifest).get(labels.DEPLOYMENT)
        if not name:
            continue
        try:
            one = Object.model_validate(manifest)
        except ValidationError:
            continue  # no object of the kinds that we make
        if one.kind == "Pod":
            pods.setdefault(name, []).append(one)
            objects.setdefault(name, {})
        else:
            objects.setdefault(name, {})[one.unit] = one
    return ClusterObserved(
        {name: DeploymentObjects(name, found, pods.get(name, ())) for name, found in objects.items()}
    )


def _why_no_node(pod: Object) -> str:
    unscheduled = pod.status.condition("PodScheduled")
    if unscheduled.status != "False" or not unscheduled.message:
        return ""
    return f"cannot start: {unscheduled.message}"


def _why_it_ended(pod: Object, status: ContainerStatus) -> str:
    """Say why a container ended, in its own words where they are a sentence about a failure.

    Of a server that was sent something nothing is repeated: what patients said would be in the status and in a tag.
    """
    ended = status.state.terminated or status.last_state.terminated
    words = _last_line(ended.message) if ended and not pod.may_have_served else ""
    if status_lines.says_why_it_failed(words):
        return words
    how = f"exit status {ended.exit_code} ({ended.reason})" if ended else "for an unknown reason"
    return f"its server ended with {how}; see kubectl logs"


def _last_line(text: str) -> str:
    """Return the last line that says something: before it there may be anything."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
