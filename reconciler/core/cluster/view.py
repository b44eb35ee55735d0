"""One deployment in a cluster: what is asked about it, and the actions that are planned for it."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from reconciler.core.cluster import labels
from reconciler.core.cluster.actions import Apply, Delete
from reconciler.core.cluster.inputs import ClusterInputs
from reconciler.core.cluster.observed import DeploymentObjects, Report
from reconciler.core.cluster.values import Values, files_values, release_values, rollout_values
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

    def has_files(self, release: Release) -> bool:
        """Whether there is a volume for a release's files; what is on it, the Job has said."""
        name = labels.files_name(self.name, labels.files_key(release))
        return f"PersistentVolumeClaim/{name}" in self.seen.objects

    # What is done.

    def apply(self, kind: str, name: str, values: Values, template: str = "") -> None:
        """Have an object made as its template says, unless it is just so."""
        wanted = Apply(self.name, f"{kind}/{name}", _path(template or _TEMPLATES[kind]), values)
        there = self.seen.objects.get(wanted.unit)
        if there is not None and there.is_going:
            return  # its end is waited for
        is_made = there is not None and kind in _MADE_ONCE
        is_so = (
            there is not None
            and there.metadata.annotations.get(labels.RENDERED_FROM) == wanted.digest
            and wanted.unit in self.inputs.untouched
        )
        if not is_made and not is_so:
            self.actions.append(wanted)

    def is_outdated(self, release: Release) -> bool:
        """Whether the Job or the volume of a release would be asked for otherwise now, and nobody serves from them."""
        key, seen = labels.files_key(release), self.seen
        needed = [one for one in (seen.release, self.good, *seen.answering) if one is not None]
        if key in {str(seen.kept[one].get("files_key")) for one in needed if one in seen.kept}:
            return False
        name, values = labels.files_name(self.name, key), self._files_values(release)
        return any(
            there.metadata.annotations.get(labels.RENDERED_FROM) != Apply(self.name, unit, template, values).digest
            for unit, template in ((f"Job/{name}", _path("prepare")), (f"PersistentVolumeClaim/{name}", _path("claim")))
            if (there := self.seen.objects.get(unit)) is not None
        )

    def delete(self, units: Iterable[str]) -> None:
        """Have objects removed that are there and are not being removed already."""
        for unit in sorted(units):
            there = self.seen.objects.get(unit)
            if there is not None and not there.is_going:
                self.actions.append(Delete(self.name, unit))

    def prepare(self, release: Release) -> None:
        """Have the files of a release fetched, its environment built, and both verified."""
        values = self._files_values(release)
        name = labels.files_name(self.name, labels.files_key(release))
        self.apply("NetworkPolicy", labels.prepare_name(self.name), values, "prepare-network")
        self.apply("PersistentVolumeClaim", name, values)
        self.apply("Job", name, values)

    def keep_report(self, release: Release, report: Report) -> None:
        """Write down what the steps found out, in the ledger and in the cluster."""
        self.pin(release, report)
        key = labels.files_key(release)
        name = labels.files_name(self.name, key)
        about = {"name": self.name, "version": release.version, "files_name": name, "files_key": key}
        self._keep(name, {**about, "report": report.model_dump_json()}, "report", is_readable=key in self.seen.reports)

    def pin(self, release: Release, report: Report) -> None:
        """Take note of the files of a version, unless that was done: we may have ended right before."""
        pinned = _pinned(release)
        if pinned not in self.record.files:
            self.actions.append(
                note.PinFiles(self.name, labels.files_name(self.name, labels.files_key(release)), pinned, report.files)
            )

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

    def _files_values(self, release: Release) -> Values:
        pinned = self.record.files.get(_pinned(release), "")
        return files_values(release, self.inputs.steps, self.inputs.settings, pinned)

    def _keep(self, name: str, values: Values, template: str, *, is_readable: bool) -> None:
        unit = f"ConfigMap/{name}"
        if unit in self.seen.objects and not is_readable:
            self.delete([unit])  # somebody edited it; it is made again when it is gone
        else:
            self.apply("ConfigMap", name, values, template)

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
