"""One deployment in a cluster: what is asked about it, and the actions that are planned for it."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from reconciler.core.cluster import labels
from reconciler.core.cluster.actions import Apply, Delete
from reconciler.core.cluster.inputs import ClusterInputs
from reconciler.core.cluster.objects import Object
from reconciler.core.cluster.observed import DeploymentObjects, Report
from reconciler.core.cluster.values import Values, claim_values, files_values, release_values, rollout_values
from reconciler.core.planner import ledger_updates as note
from reconciler.core.planner.deployment_view import MAX_MESSAGE
from reconciler.core.planner.unit_actions import Action
from reconciler.core.planner.unit_values import source_of
from reconciler.core.state.ledger import Record
from reconciler.core.state.reason import Reason
from reconciler.core.state.release import Release, Rollout
from reconciler.core.state.status import Outlook, State
from reconciler.core.text.quote import one_line
from reconciler.core.units.names import ReleaseId

_MADE_ONCE = ("PersistentVolumeClaim", "Job", "ConfigMap")
"""Kinds whose objects are never changed: what is asked for anew has another name."""
_TEMPLATES = {
    "PersistentVolumeClaim": "claim",
    "Job": "prepare",
    "Deployment": "deployment",
    "Service": "service",
    "PodDisruptionBudget": "disruption",
}


@dataclass
class ClusterDeployment:
    """What the namespace shows of a deployment, and what is planned for it in this pass."""

    name: str
    seen: DeploymentObjects
    inputs: ClusterInputs
    actions: list[Action] = field(default_factory=list)

    @property
    def record(self) -> Record:
        """What is remembered of it."""
        return self.inputs.ledger.record(self.name)

    @property
    def serving(self) -> ReleaseId | None:
        """The release that answers; None where none does.

        During a rollout two may answer: a Service spreads requests over all servers that are ready. Then it is the good
        one, until the one asked for is complete.
        """
        answering = self.seen.answering
        if not answering:
            return None
        first = [self.seen.release, self.good] if self.seen.is_complete else [self.good, self.seen.release]
        known = next((release for release in first if release in answering), None)
        return known or answering.most_common(1)[0][0]

    @property
    def good(self) -> ReleaseId | None:
        """The release to go on with, or to go back to: the one that proved itself last, be it in this very moment."""
        return self.just_proved or self.record.good

    @property
    def just_proved(self) -> ReleaseId | None:
        """The release that is complete now, if nobody has taken note of that yet."""
        asked = self.seen.release
        if asked is None or not self.seen.is_complete or asked == self.record.good or self.record.rejection(asked):
            return None
        return asked

    def outlook(self, state: State, desired: int | None, reason: Reason = Reason.NONE, message: str = "") -> Outlook:
        """Return the deployment's line of the status."""
        serving, settings = self.serving, self.inputs.settings
        has_address = f"Service/{labels.object_name(self.name)}" in self.seen.objects
        kept = self.seen.kept.get(serving, {}) if serving else {}
        asked, good = self.seen.release, self.good
        is_on_trial = asked is not None and good is not None and asked != good and serving == good
        return Outlook(
            name=self.name,
            state=state,
            desired_version=str(desired) if desired else None,
            active_version=str(serving.version) if serving else None,
            standby_version=str(good.version) if is_on_trial and good else None,
            reason=reason,
            message=one_line(message, MAX_MESSAGE),
            url=f"http://{labels.object_name(self.name)}.{settings.namespace}.svc" if has_address else None,
            public_url=self.inputs.public_url.replace("{name}", self.name).replace("{port}", "80") or None,
            example=str(kept.get("example", "")),
        )

    def blocked(self, desired: int, reason: Reason, why: str) -> Outlook:
        """Return the status of a deployment whose desired release is out of the question now."""
        return self.outlook(State.DEGRADED if self.serving else State.FAILED, desired, reason, why)

    def files_name(self, release: Release) -> str:
        """Name the volume of a release's files, the Job that fills it and the ConfigMap that tells of it."""
        return labels.files_name(self.name, labels.files_key(release))

    def volume(self, release: Release) -> Object | None:
        """Return the volume for a release's files; what is on it, the Job has said."""
        return self.seen.objects.get(f"PersistentVolumeClaim/{self.files_name(release)}")

    # What is done.

    def apply(self, kind: str, name: str, values: Values, template: str = "", *, again: bool = False) -> None:
        """Have an object made as its template says, unless it is just so.

        `again`: also one of a kind that is made once, where somebody changed it.
        """
        wanted = Apply(self.name, f"{kind}/{name}", _path(template or _TEMPLATES[kind]), values)
        there = self.seen.objects.get(wanted.unit)
        if there is not None and there.is_going:
            return  # its end is waited for
        is_made = there is not None and kind in _MADE_ONCE and not again
        is_so = there is not None and not self._differs(wanted) and wanted.unit in self.inputs.untouched
        if not is_made and not is_so:
            self.actions.append(wanted)

    def outdated(self, release: Release) -> list[str]:
        """List the Job of a release, and its volume, where they would be asked for otherwise now.

        A volume that servers may read is never among them.
        """
        job, claim = self._preparation(release)
        if self._differs(claim) and not self._may_be_read(labels.files_key(release)):
            return [job.unit, claim.unit]
        return [job.unit] if self._differs(job) else []

    def delete(self, units: Iterable[str]) -> None:
        """Have objects removed that are there and are not being removed already."""
        for unit in sorted(units):
            there = self.seen.objects.get(unit)
            if there is not None and not there.is_going:
                self.actions.append(Delete(self.name, unit))

    def prepare(self, release: Release) -> None:
        """Have the files of a release fetched, its environment built, and both verified."""
        job, claim = self._preparation(release)
        name = self.files_name(release)
        self.apply("NetworkPolicy", labels.prepare_name(self.name), job.values, "prepare-network")
        self.apply("PersistentVolumeClaim", name, claim.values)
        self.apply("Job", name, job.values)

    def keep_report(self, release: Release, report: Report) -> None:
        """Write down what the steps found out, in the ledger and in the cluster."""
        self.pin(release, report)
        key, name = labels.files_key(release), self.files_name(release)
        about = {"name": self.name, "version": release.version, "files_name": name, "files_key": key}
        self._keep(name, {**about, "report": report.model_dump_json()}, "report", is_readable=key in self.seen.reports)

    def pin(self, release: Release, report: Report) -> None:
        """Take note of the files of a version, unless that was done: we may have ended right before."""
        pinned = _pinned(release)
        if pinned not in self.record.files:
            self.actions.append(note.PinFiles(self.name, self.files_name(release), pinned, report.files))

    def serve(self, release: Release, report: Report) -> None:
        """Have a release run that the registry selects; one that was rendered before stays as it was."""
        values = release_values(release, report, self.inputs.settings)
        kept = json.dumps(values, sort_keys=True)
        name = labels.release_name(self.name, release.id)
        is_readable = release.id in self.seen.kept
        self._keep(name, {**values, "release_name": name, "kept": kept}, "release", is_readable=is_readable)
        as_it_was = self.seen.kept.get(release.id, {})
        today = rollout_values(release.rollout, release.parameters.start_timeout)
        # What the templates of a newer product need beside is in `values` alone.
        self._serve({**values, **as_it_was, **today})

    def serve_kept(self, release: ReleaseId, rollout: Rollout | None = None) -> bool:
        """Have a release run of which the values are known; return False where they are not.

        `rollout`: today's, for the release that is wanted; another one runs as it did.
        """
        kept = self.seen.kept.get(release)
        if kept is None:
            return False
        start_timeout = kept.get("start_timeout")
        if rollout is not None and isinstance(start_timeout, int):
            kept = {**kept, **rollout_values(rollout, start_timeout)}
        self._serve(kept)
        return True

    def former_settings(self, release: Release) -> ReleaseId | None:
        """Return the good release that serves if nothing but this host's settings makes it differ from the wanted one.

        None when it is the wanted one, or when the registry or an operator asked for a change.
        """
        good = self.good
        if good is None or good == release.id or self.seen.release != good:
            return None
        kept = self.seen.kept.get(good, {})
        is_same = good.version == release.version and kept.get("asked") == release.asked
        return good if is_same else None

    def _preparation(self, release: Release) -> tuple[Apply, Apply]:
        """Return how the Job and the volume of a release are asked for."""
        name, settings = self.files_name(release), self.inputs.settings
        values = files_values(release, self.inputs.steps, settings, self.record.files.get(_pinned(release), ""))
        job = Apply(self.name, f"Job/{name}", _path("prepare"), values)
        return job, Apply(self.name, f"PersistentVolumeClaim/{name}", _path("claim"), claim_values(release, settings))

    def _differs(self, wanted: Apply) -> bool:
        """Whether an object is there and was made as something else."""
        there = self.seen.objects.get(wanted.unit)
        return there is not None and there.metadata.annotations.get(labels.RENDERED_FROM) != wanted.digest

    def _may_be_read(self, key: str) -> bool:
        """Whether a release that serves has these files, or one of which nobody knows any more which files it has."""
        kept = [self.seen.kept.get(one) for one in (self.seen.release, self.good, *self.seen.answering) if one]
        return any(values is None or values.get("files_key") == key for values in kept)

    def _keep(self, name: str, values: Values, template: str, *, is_readable: bool) -> None:
        """Have a ConfigMap made once; one that somebody edited is made to say again what it said."""
        self.apply("ConfigMap", name, values, template, again=not is_readable)

    def _serve(self, values: Values) -> None:
        name = labels.object_name(self.name)
        # The policy before the pods that it holds.
        self.apply("NetworkPolicy", name, values, "network")
        self.apply("PodDisruptionBudget", name, values)
        self.apply("Service", name, values)
        self.apply("Deployment", name, values)


def _path(template: str) -> str:
    return f"kubernetes/{template}.yaml.j2"


def _pinned(release: Release) -> str:
    """Name the files of a release in the ledger."""
    return f"{release.version}.{source_of(release)}"
